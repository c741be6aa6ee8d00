/** How long a new key lives, as people write it: a duration, a date, a time, or never. */

import { InvalidArgumentError } from 'commander'
import { DAY_MS } from '../std/clock.js'
import { parseDuration, parseMoment } from '../std/time.js'
import { usageError } from './failure.js'

export type Lifetime =
  | { readonly kind: 'never' }
  | { readonly kind: 'for'; readonly ms: number }
  /** Epoch ms. */
  | { readonly kind: 'until'; readonly at: number }

/** The lifetime of a key from the browser. */
export const DEFAULT_LIFETIME: Lifetime = { kind: 'for', ms: 30 * DAY_MS }

/** For commander, whose error names the option. */
export function parseLifetime(text: string): Lifetime {
  if (text === 'never') return { kind: 'never' }
  const ms = parseDuration(text)
  if (ms !== undefined && ms > 0) return { kind: 'for', ms }
  const at = parseMoment(text)
  if (at !== undefined) return { kind: 'until', at }
  throw new InvalidArgumentError(
    'Expected a duration like 30m, 8h or 90d, a date like 2027-01-31, a time like 2027-01-31T18:00:00Z, or never.',
  )
}

/** RFC 3339, UTC; `undefined`: never. `now` in epoch ms. Throws `usage` for a time that is past. */
export function endOf(life: Lifetime, now: number): string | undefined {
  switch (life.kind) {
    case 'never':
      return undefined
    case 'for':
      return new Date(now + life.ms).toISOString()
    case 'until':
      if (life.at <= now)
        throw usageError(`${new Date(life.at).toISOString()} is past: a key cannot end then`)
      return new Date(life.at).toISOString()
  }
}
