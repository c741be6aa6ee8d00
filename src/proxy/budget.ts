/** Memory for request bodies that are kept whole: one budget for all callers, with a share for each. */
import { BrokerError } from '../base/errors.js'

/** What one request may keep. */
export interface Purse {
  /** Takes more of the budget. Throws `too_many_requests` if the caller's share, or all of it, is used up. */
  take(bytes: number): void
  /** Gives everything back. Idempotent. */
  close(): void
}

export interface Budget {
  /** `holder`: whose share it is. */
  open(holder: string): Purse
  /** Bytes kept now. */
  used(): number
}

export function createBudget({
  total,
  perHolder,
}: {
  readonly total: number
  readonly perHolder: number
}): Budget {
  const held = new Map<string, number>()
  let used = 0
  return {
    used: () => used,
    open(holder) {
      let own = 0
      return {
        take(bytes) {
          const share = held.get(holder) ?? 0
          if (share + bytes > perHolder || used + bytes > total) throw tooMuch(used + bytes > total)
          held.set(holder, share + bytes)
          own += bytes
          used += bytes
        },
        close() {
          const left = (held.get(holder) ?? 0) - own
          if (left > 0) held.set(holder, left)
          else held.delete(holder)
          used -= own
          own = 0
        },
      }
    },
  }
}

function tooMuch(isOfAll: boolean): BrokerError {
  const whose = isOfAll ? 'all callers' : 'this token'
  return new BrokerError('too_many_requests', `too many request bodies of ${whose} are under way`, {
    hint: 'send them again later, or with Content-Length: large ones are then streamed',
  })
}
