/** Access control: keys, the rate limit, and a switch that forbids everything. */

import type { Actor } from '../api/rows.js'
import type { SimClock } from '../clock.js'
import type { Directory } from '../directory.js'
import type { IssuedKey, KeyStore } from '../keys.js'
import { type Answer, detail, refusal } from '../ui/exchange.js'

interface Caller {
  readonly actor: Actor
  readonly key: IssuedKey
}

export interface Gate {
  /** Returns the owner of this key. Throws the refusal to send: 401, 403 or 429. */
  admit(keyText: string | undefined): Caller
  /** Every valid key gets 403 from now on, as with an IP allow list. Call the result to lift it. */
  forbid(text?: string): () => void
  /** Requests per simulated minute for each key's owner; `undefined` removes the limit. */
  limit(requestsPerMinute: number | undefined): void
}

/** research/prefect.md 1.9. */
function unauthorized(): Answer {
  return detail(401, 'Invalid authentication credentials')
}

const MINUTE = 60_000

/** Creates the access control of one simulator. */
export function createGate(parts: {
  readonly clock: SimClock
  readonly keys: KeyStore
  readonly directory: Directory
}): Gate {
  const { clock, keys, directory } = parts
  let limit: number | undefined
  let forbidden: string | undefined
  const counts = new Map<string, { minute: number; count: number }>()

  // research/prefect.md 2.6: 429 and `Retry-After`. Prefect counts per account; per key owner is close enough.
  const countOne = (ownerId: string) => {
    if (limit === undefined) return
    const now = clock.now()
    const minute = Math.floor(now / MINUTE)
    const last = counts.get(ownerId)
    const count = last?.minute === minute ? last.count + 1 : 1
    counts.set(ownerId, { minute, count })
    if (count <= limit) return
    const seconds = Math.ceil(((minute + 1) * MINUTE - now) / 1000)
    throw refusal(detail(429, 'Rate limit exceeded', { 'retry-after': String(seconds) }))
  }

  return {
    admit(keyText) {
      const key = keyText === undefined ? undefined : keys.authenticate(keyText)
      const actor = key === undefined ? undefined : directory.actor(key.ownerId)
      if (key === undefined || actor === undefined) throw refusal(unauthorized())
      if (forbidden !== undefined) throw refusal(detail(403, forbidden))
      countOne(key.ownerId)
      return { actor, key }
    },
    forbid(text = 'Your IP address is not allowed to access this account.') {
      forbidden = text
      return () => {
        forbidden = undefined
      }
    },
    limit(requestsPerMinute) {
      limit = requestsPerMinute
    },
  }
}
