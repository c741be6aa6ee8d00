/** `vault.json`: which vault was chosen at the first start, and why. Written once; a damaged one is told and left alone. */
import { join } from 'node:path'
import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import { writeFileAtomic } from '../os/atomic-file.js'
import { quoteWord } from '../std/text.js'
import type { VaultChoice } from './choice.js'
import { KEY_WRAPS } from './data-key-part.js'

const facts = {
  version: z.literal(1),
  store: z.uuid(),
  because: z.string().max(4000),
  chosen_at: z.iso.datetime(),
}

const document = z.discriminatedUnion('backend', [
  z.strictObject({ ...facts, backend: z.literal('keychain') }),
  z.strictObject({ ...facts, backend: z.literal('file'), wrap: z.enum(KEY_WRAPS) }),
])

function choicePath(stateDir: string): string {
  return join(stateDir, 'vault.json')
}

/** `undefined` before the first start. Rejects with `state_corrupt`, and with what `readFile` rejects with. */
export async function readVaultChoice(
  stateDir: string,
  readFile: (path: string) => Promise<Buffer | undefined>,
): Promise<VaultChoice | undefined> {
  const path = choicePath(stateDir)
  const content = await readFile(path)
  if (content === undefined) return undefined
  try {
    const { version: _, chosen_at: __, ...choice } = document.parse(JSON.parse(content.toString()))
    return choice
  } catch (cause) {
    throw new BrokerError('state_corrupt', `reading which vault was chosen: ${path} is damaged`, {
      hint: `restore it from a backup, or have it chosen again: mv ${quoteWord(path)} ${quoteWord(`${path}.corrupt`)}`,
      cause,
    })
  }
}

/** Durable when it resolves. `now` in epoch ms. */
export async function writeVaultChoice(stateDir: string, choice: VaultChoice, now: number): Promise<void> {
  const content = { version: 1, ...choice, chosen_at: new Date(now).toISOString() }
  const path = choicePath(stateDir)
  await writeFileAtomic(path, `${JSON.stringify(content, undefined, 2)}\n`).catch((cause: unknown) => {
    throw new BrokerError('disk_failed', `writing down which vault was chosen, to ${path}`, { cause })
  })
}
