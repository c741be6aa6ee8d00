/** Pure: which vault this start uses. Chosen once; afterwards a setting may agree or be refused, never change it. */

import { BrokerError } from '../base/errors.js'
import { quoteWord } from '../std/text.js'
import type { KeyWrapKind } from './data-key-part.js'

export interface VaultSettings {
  readonly backend: 'auto' | 'keychain' | 'file'
  readonly keyWrap?: 'auto' | KeyWrapKind
  /** Absolute path of a 0600 file whose first line is the passphrase. */
  readonly passphraseFile?: string
}

/** What was chosen at the first start; `store` is a UUID that names this vault for ever. */
export type VaultChoice =
  | { readonly backend: 'keychain'; readonly store: string; readonly because: string }
  | { readonly backend: 'file'; readonly wrap: KeyWrapKind; readonly store: string; readonly because: string }

export type VaultPlan =
  | { readonly kind: 'decide' }
  /** `isNew`: the choice must still be written down. */
  | { readonly kind: 'open'; readonly choice: VaultChoice; readonly isNew: boolean }

export interface VaultFacts {
  readonly settings: VaultSettings
  /** What `vault.json` says. */
  readonly recorded: VaultChoice | undefined
  /** A data key that lies in the state directory, with or without `vault.json`. */
  readonly found: { readonly wrap: KeyWrapKind; readonly store: string } | undefined
  readonly stateDir: string
}

/** Throws `setting_invalid` where the settings contradict what was chosen, `state_corrupt` where the files do. */
export function planVault({ settings, recorded, found, stateDir }: VaultFacts): VaultPlan {
  if (recorded === undefined && found === undefined) return { kind: 'decide' }
  const choice = recorded ?? adopted(found)
  if (choice === undefined) return { kind: 'decide' }
  requireAgreement(settings, choice, stateDir)
  requireSameStore(choice, found, stateDir)
  return { kind: 'open', choice, isNew: recorded === undefined }
}

/** A file vault whose `vault.json` is gone: its keys must not be hidden behind a new decision. */
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
  const anew = `mv ${quoteWord(stateDir)} ${quoteWord(`${stateDir}.old`)}`
  return new BrokerError(
    'setting_invalid',
    `${setting} is '${wanted}', but this vault was made with '${chosen}': a vault never changes by itself`,
    { hint: `${back}; or start anew, and log in again: ${anew}` },
  )
}

function requireSameStore(choice: VaultChoice, found: VaultFacts['found'], stateDir: string): void {
  if (choice.backend !== 'file' || found === undefined) return
  if (found.store === choice.store && found.wrap === choice.wrap) return
  const from = quoteWord(`${stateDir}/vault.json`)
  throw new BrokerError(
    'state_corrupt',
    `opening the vault: vault.json and vault/data-key.json in ${stateDir} belong to different vaults`,
    {
      hint: `restore both from one backup, or trust the data key: mv ${from} ${quoteWord(`${stateDir}/vault.json.old`)}`,
    },
  )
}
