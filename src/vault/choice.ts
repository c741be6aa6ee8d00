/** The choice of a vault: made at the first start, recorded in `vault.json`, never changed by a setting. */

import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import { namesIn, writeFileAtomic } from '../os/atomic-file.js'
import { requireKnownFormat } from '../os/document.js'
import { readPrivateFile } from '../os/private-files.js'
import { diskFailed } from '../os/system-error.js'
import type { Log } from '../std/log.js'
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
  | {
      readonly backend: 'file'
      readonly wrap: KeyWrapKind
      readonly store: string
      readonly because: string
      /** Where in the state directory; `vault` if it was never moved. */
      readonly dir?: string | undefined
    }

type VaultPlan =
  | { readonly kind: 'decide' }
  /** `isNew`: the choice must still be recorded. */
  | { readonly kind: 'open'; readonly choice: VaultChoice; readonly isNew: boolean }

export interface VaultFacts {
  readonly settings: VaultSettings
  /** What `vault.json` says, if it can be read. */
  readonly recorded: VaultChoice | undefined
  /** There is a `vault.json`, and it cannot be read. */
  readonly isDamaged?: boolean
  /** How many items of a vault the ledger names. */
  readonly namedItems?: number
  /** A data key in the state directory, with or without `vault.json`. */
  readonly found: { readonly wrap: KeyWrapKind; readonly store: string } | undefined
  readonly stateDir: string
}

/**
 * Throws `setting_invalid` if the settings contradict the choice, and `state_corrupt` if the files contradict each other, or if
 * a new choice would hide keys that the ledger names.
 */
export function planVault(facts: VaultFacts): VaultPlan {
  const { settings, recorded, found, stateDir } = facts
  const choice = recorded ?? adopted(facts)
  if (choice === undefined) {
    requireNothingToHide(facts)
    return { kind: 'decide' }
  }
  requireAgreement(settings, choice, stateDir)
  requireSameStore(choice, found, stateDir)
  return { kind: 'open', choice, isNew: recorded === undefined }
}

/** A file vault without its `vault.json`: a new choice must not hide its keys. */
function adopted({ found, isDamaged = false }: VaultFacts): VaultChoice | undefined {
  const because = 'a file vault was found in the state directory'
  return (
    found && {
      backend: 'file',
      because: isDamaged ? `${because}; vault.json was damaged` : because,
      ...found,
    }
  )
}

function requireNothingToHide({ isDamaged = false, namedItems = 0, stateDir }: VaultFacts): void {
  if (!isDamaged && namedItems === 0) return
  const path = `${stateDir}/vault.json`
  const what = `${path} is ${isDamaged ? 'damaged' : 'missing'}`
  if (namedItems === 0) {
    throw new BrokerError('state_corrupt', `cannot read which vault was chosen: ${what}`, {
      hint: `restore it from a backup, or choose again: mv ${quoteWord(path)} ${quoteWord(`${path}.corrupt`)}`,
    })
  }
  const keys = namedItems === 1 ? '1 key' : `${namedItems} keys`
  throw new BrokerError(
    'state_corrupt',
    `cannot find the vault: ${what}, and a new vault would not have the ${keys} of ledger.json`,
    {
      hint: `restore it from a backup; or start over and log in again: mv ${quoteWord(stateDir)} ${quoteWord(`${stateDir}.old`)}`,
    },
  )
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
    `cannot open the vault: vault.json and ${dirOf(choice)}/data-key.json in ${stateDir} belong to different vaults`,
    {
      hint: `restore both from one backup, or trust the data key: mv ${from} ${quoteWord(`${stateDir}/vault.json.old`)}`,
    },
  )
}

/** Where a file vault that came by a move has its files. */
const MOVED_DIR = /^vault-[0-9a-f]{8}$/

/** The directories of file vaults in `stateDir`: the one in use, and those that a move has left. Empty if it cannot be read. */
export function vaultDirs(stateDir: string): readonly string[] {
  return namesIn(stateDir)
    .filter((name) => name === dirOf(undefined) || MOVED_DIR.test(name))
    .map((name) => join(stateDir, name))
}

export function newVaultDir(store: string): string {
  return `vault-${store.slice(0, 8)}`
}

export function dirOf(choice: VaultChoice | undefined): string {
  return (choice?.backend === 'file' ? choice.dir : undefined) ?? 'vault'
}

/** 2: with a ledger that has a format. The first version refuses it, so that it leaves such a ledger alone. */
const VERSION = 2
/** 3: with a directory that earlier versions do not know. */
const NEWEST = 3

const facts = { store: z.uuid(), because: z.string().max(4000) }
const dated = {
  version: z.union([z.literal(1), z.literal(VERSION), z.literal(NEWEST)]),
  chosen_at: z.iso.datetime(),
}
const inKeychain = z.strictObject({ ...facts, backend: z.literal('keychain') })
const inFiles = z.strictObject({
  ...facts,
  backend: z.literal('file'),
  wrap: z.enum(KEY_WRAPS),
  dir: z.string().regex(MOVED_DIR).optional(),
})
export const choiceSchema = z.discriminatedUnion('backend', [inKeychain, inFiles])
const document = z.discriminatedUnion('backend', [inKeychain.extend(dated), inFiles.extend(dated)])

function choicePath(stateDir: string): string {
  return join(stateDir, 'vault.json')
}

type RecordedChoice =
  | { readonly kind: 'missing' | 'damaged' }
  | { readonly kind: 'good'; readonly choice: VaultChoice }

/** Rejects with `state_newer`, and with what `readFile` rejects with. */
export async function readVaultChoice(
  stateDir: string,
  readFile: (path: string) => Promise<Buffer | undefined>,
): Promise<RecordedChoice> {
  const path = choicePath(stateDir)
  const content = await readFile(path)
  if (content === undefined) return { kind: 'missing' }
  const raw = parseJson(content)
  requireKnownFormat(path, raw, NEWEST)
  const parsed = document.safeParse(raw)
  if (!parsed.success) return { kind: 'damaged' }
  const { version: _, chosen_at: __, ...choice } = parsed.data
  return { kind: 'good', choice }
}

function parseJson(content: Buffer): unknown {
  try {
    return JSON.parse(content.toString())
  } catch {
    return undefined
  }
}

/** Durable when it resolves. `now` in epoch ms. A damaged file is kept under another name. */
export async function writeVaultChoice(stateDir: string, choice: VaultChoice, now: number): Promise<void> {
  const time = new Date(now).toISOString()
  const path = choicePath(stateDir)
  try {
    if ((await readVaultChoice(stateDir, readPrivateFile)).kind === 'damaged') {
      await rename(path, `${path}.corrupt-${time.replaceAll(':', '-')}`)
    }
    const version = choice.backend === 'file' && choice.dir !== undefined ? NEWEST : VERSION
    await replaceChoice(path, { version, ...choice, chosen_at: time })
  } catch (cause) {
    throw cause instanceof BrokerError ? cause : diskFailed('write', path, cause)
  }
}

/** So that the first version does not open a ledger that it would misread. Never rejects. */
export async function markVaultChoice(stateDir: string, log: Log): Promise<void> {
  const path = choicePath(stateDir)
  try {
    const parsed = document.safeParse(parseJson((await readPrivateFile(path)) ?? Buffer.alloc(0)))
    if (!parsed.success || parsed.data.version !== 1) return
    await replaceChoice(path, { ...parsed.data, version: VERSION })
  } catch (error) {
    log.warn({ path, error }, 'format of the vault choice not raised; will retry at the next start')
  }
}

async function replaceChoice(path: string, content: z.infer<typeof document>): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(content, undefined, 2)}\n`)
}
