/** Holds the file vault's data key while the vault is open, and says what keeps it shut while it is not. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Secret } from '../std/secret.js'
import type { DataKeyFile, KeyWrap } from './data-key-part.js'
import type { VaultDescription } from './vault-part.js'

export interface KeyHolder {
  /** The key; opens the vault where that needs nobody. Rejects with `vault_locked`, `vault_unavailable`, … */
  require(): Promise<Uint8Array>
  /** `vault_passphrase_wrong`; the first passphrase of all is the one that is set. */
  unlock(passphrase: Secret): Promise<void>
  /** Shut until `unlock`, also where a passphrase file could open it. */
  lock(): void
  /** Wipes the key out of memory. */
  forget(): void
  standing(): Pick<VaultDescription, 'state' | 'problem' | 'opensAlone'>
}

type Problem = NonNullable<VaultDescription['problem']>

/** Calls must come one at a time. */
export function createKeyHolder(dataKey: DataKeyFile, wrap: KeyWrap): KeyHolder {
  let key: Uint8Array | undefined
  let problem: Problem | undefined
  let isLockedByHand = false
  let isUnlockedByHand = false

  async function open(passphrase?: Secret): Promise<Uint8Array> {
    try {
      key = await (dataKey.isMade() ? dataKey.open(passphrase) : dataKey.make(passphrase))
      problem = undefined
      return key
    } catch (error) {
      // A slip of the finger must not change what is said about a vault that is open.
      if (key === undefined) problem = problemOf(error, dataKey.isMade())
      throw error
    }
  }

  function forget(): void {
    key?.fill(0)
    key = undefined
  }

  return {
    async require() {
      if (key !== undefined) return key
      if (!isLockedByHand) return open()
      throw new BrokerError('vault_locked', 'opening the vault: it is locked', {
        hint: 'prefect-auth unlock',
      })
    },
    async unlock(passphrase) {
      if (passphrase.length === 0) throw new BrokerError('bad_request', 'the passphrase is empty')
      await open(passphrase)
      isLockedByHand = false
      isUnlockedByHand = true
    },
    lock() {
      forget()
      isLockedByHand = true
      problem = { message: 'the vault is locked', hint: 'prefect-auth unlock' }
    },
    forget,
    standing() {
      if (key !== undefined)
        return isUnlockedByHand ? { state: 'ready' } : { state: 'ready', opensAlone: true }
      const state = wrap.kind === 'passphrase' ? 'locked' : 'unavailable'
      return problem === undefined ? { state } : { state, problem }
    },
  }
}

function problemOf(error: unknown, isMade: boolean): Problem {
  if (isBrokerError(error, 'vault_locked') && !isMade) {
    return { message: 'the vault waits for its first passphrase', hint: 'prefect-auth unlock' }
  }
  const { message, hint } =
    error instanceof BrokerError ? error : { message: 'opening the vault failed', hint: undefined }
  return { message, hint: hint ?? 'prefect-auth doctor' }
}
