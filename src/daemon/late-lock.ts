/** The state lock, taken later if the disk does not allow it now: until then nothing is written. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import { type StateLock, takeStateLock } from '../os/state-lock.js'
import { diskFailed, systemCode } from '../os/system-error.js'
import { quoteWord } from '../std/text.js'

export interface LateLock extends StateLock {
  /** Throws `disk_failed` while the lock is not held: nothing may be written. */
  permit(): void
  /** Tries again. Returns true if the lock was taken by this call. Rejects with `already_running`. */
  retry(): Promise<boolean>
}

/** A disk that may work again: full, read-only, over quota, or failing. */
const PASSING = ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO']
/** What file systems without unix sockets say. */
const NO_SOCKETS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL']

/** Rejects as `takeStateLock` does, and with `disk_failed` on a file system that has no unix sockets. */
export async function takeLateLock(options: Parameters<typeof takeStateLock>[0]): Promise<LateLock> {
  const { stateDir } = options
  let lock: StateLock | undefined
  let failure: BrokerError | undefined

  const attempt = async (): Promise<boolean> => {
    try {
      lock = await takeStateLock(options)
      failure = undefined
      return true
    } catch (error) {
      const code = codeOf(error)
      if (code !== undefined && PASSING.includes(code)) {
        failure = diskFailed('lock', stateDir, isBrokerError(error) ? error.cause : error)
        return false
      }
      if (code !== undefined && NO_SOCKETS.includes(code)) throw withoutSockets(stateDir, error)
      throw error
    }
  }
  await attempt()
  return {
    permit() {
      if (failure !== undefined) throw failure
    },
    retry: async () => (lock === undefined ? attempt() : false),
    async release() {
      await lock?.release()
    },
  }
}

/** The lock's permission to write, which can be withdrawn for good. */
export function createPermit(lock: Pick<LateLock, 'permit' | 'retry'>) {
  let withdrawn: BrokerError | undefined
  const require = () => {
    if (withdrawn !== undefined) throw withdrawn
    lock.permit()
  }
  return {
    require,
    isGiven() {
      try {
        require()
        return true
      } catch {
        return false
      }
    },
    retry: () => lock.retry().catch(() => false),
    /** Another daemon had the lock in between: what it wrote is newer than our memory. */
    withdraw(stateDir: string) {
      withdrawn = changedMeanwhile(stateDir)
    },
  }
}

function changedMeanwhile(stateDir: string): BrokerError {
  return new BrokerError('state_corrupt', `cannot write ${stateDir}: another prefect-authd has changed it`, {
    hint: 'restart prefect-authd',
  })
}

function codeOf(error: unknown): string | undefined {
  return isBrokerError(error, 'disk_failed') ? systemCode(error.cause) : systemCode(error)
}

function withoutSockets(stateDir: string, cause: unknown): BrokerError {
  return new BrokerError(
    'disk_failed',
    `cannot lock ${stateDir}: its file system has no unix sockets (${systemCode(cause) ?? 'unknown'})`,
    {
      hint: `keep the state on a local disk: PREFECT_AUTH_STATE_DIR=${quoteWord('/PATH/ON/A/LOCAL/DISK')} prefect-authd`,
      cause,
    },
  )
}
