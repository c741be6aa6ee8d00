/** The choice of a vault: made at the first start, recorded in `vault.json`, never changed by a setting. */

import { join } from 'node:path'
import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import { writeFileAtomic } from '../os/atomic-file.js'
import { diskFailed } from '../os/system-error.js'
import { quoteWord } from '../std/text.js'
import { KEY_WRAPS, type KeyWrapKind } from './data-key.js'

export interface VaultSettings {
  readonly backend: 'auto' | 'keychain' | 'file'
  readonly keyWrap?: 'auto' | KeyWrapKind
  /** Absolute path of a 0600 file whose first line is the passphrase. */
  readonly passphraseFile?: string
}

/** What was chosen at the first start. `store` is a UUID that identifies this vault from then on. */
export type VaultChoice =
  | { readonly backend: 'keychain'; readonly store: string; readonly because: string }
  | { readonly backend: 'file'; readonly wrap: KeyWrapKind; readonly store: string; readonly because: string }

type VaultPlan =
  | { readonly kind: 'decide' }
  /** `isNew`: the choice must still be recorded. */
  | { readonly kind: 'open'; readonly choice: VaultChoice; readonly isNew: boolean }

export interface VaultFacts {
  readonly settings: VaultSettings
  /** What `vault.json` says. */
  readonly recorded: VaultChoice | undefined
  /** A data key in the state directory, with or without `vault.json`. */
  readonly found: { readonly wrap: KeyWrapKind; readonly store: string } | undefined
  readonly stateDir: string
}

/** Throws `setting_invalid` if the settings contradict the choice, `state_corrupt` if the files contradict each other. */
export function planVault({ settings, recorded, found, stateDir }: VaultFacts): VaultPlan {
  if (recorded === undefined && found === undefined) return { kind: 'decide' }
  const choice = recorded ?? adopted(found)
  if (choice === undefined) return { kind: 'decide' }
  requireAgreement(settings, choice, stateDir)
  requireSameStore(choice, found, stateDir)
  return { kind: 'open', choice, isNew: recorded === undefined }
}

/** A file vault without its `vault.json`: a new choice must not hide its keys. */
function adopted(found: VaultFacts['found']): VaultChoice | undefined {
  return found && { backend: 'file', because: 'a file vault was found in the state directory', ...found }
}

function requireAgreement(settings: VaultSettings, choice: VaultChoice, stateDir: string): void {
  if (settings.backend !== 'auto' && settings.backend !== choice.backend) {
    throw contradiction('vault.backend', settings.backend, choice.backend, stateDir)
  }
  if (choice.backend !== 'file') return
  const { keyWrap = 'auto' } = settings
  if (keyWrap !== 'auto' && keyWrap !== choice.wrap) {
    throw contradiction('vault.key_wrap', keyWrap, choice.wrap, stateDir)
  }
}

function contradiction(setting: string, wanted: string, chosen: string, stateDir: string): BrokerError {
  const back = `set ${setting} = "${chosen}"`
  const restart = `mv ${quoteWord(stateDir)} ${quoteWord(`${stateDir}.old`)}`
  return new BrokerError(
    'setting_invalid',
    `cannot use ${setting} '${wanted}': this vault was created with '${chosen}'`,
    { hint: `${back}; or start over and log in again: ${restart}` },
  )
}

function requireSameStore(choice: VaultChoice, found: VaultFacts['found'], stateDir: string): void {
  if (choice.backend !== 'file' || found === undefined) return
  if (found.store === choice.store && found.wrap === choice.wrap) return
  const from = quoteWord(`${stateDir}/vault.json`)
  throw new BrokerError(
    'state_corrupt',
    `cannot open the vault: vault.json and vault/data-key.json in ${stateDir} belong to different vaults`,
    {
      hint: `restore both from one backup, or trust the data key: mv ${from} ${quoteWord(`${stateDir}/vault.json.old`)}`,
    },
  )
}

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
    throw new BrokerError('state_corrupt', `cannot read which vault was chosen: ${path} is damaged`, {
      hint: `restore it from a backup, or choose again: mv ${quoteWord(path)} ${quoteWord(`${path}.corrupt`)}`,
      cause,
    })
  }
}

/** Durable when it resolves. `now` in epoch ms. */
export async function writeVaultChoice(stateDir: string, choice: VaultChoice, now: number): Promise<void> {
  const content = { version: 1, ...choice, chosen_at: new Date(now).toISOString() }
  const path = choicePath(stateDir)
  await writeFileAtomic(path, `${JSON.stringify(content, undefined, 2)}\n`).catch((cause: unknown) => {
    throw diskFailed('write', path, cause)
  })
}
