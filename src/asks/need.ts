/** Which requests wait for a yes: by what the token asks for, and by what the operation does. Pure. */
import type { AskMode, Effect } from '../wire/kinds.js'

/** Of a request that was admitted. */
export interface NeedFacts {
  readonly method: string
  /** Absent: the operation is not in the table. */
  readonly effect?: Effect
  /** Outside of every workspace the proxy forwards only what reads. */
  readonly isOutside: boolean
}

/** The bookkeeping of runs never waits: a parked lease renewal loses its slot, a parked heartbeat its worker. */
export function mustAsk(mode: AskMode, facts: NeedFacts): boolean {
  if (facts.effect === 'works') return false
  return mode === 'all' || !isRead(facts)
}

function isRead({ method, effect, isOutside }: NeedFacts): boolean {
  if (effect !== undefined) return effect === 'reads'
  return isOutside || method === 'HEAD' || method === 'OPTIONS'
}

/** The token's own mode, or that of a profile that the owner has marked. */
export function modeOf(
  token: { readonly ask?: AskMode },
  profile: string,
  marked: readonly string[],
): AskMode | undefined {
  return token.ask ?? (marked.includes(profile) ? 'write' : undefined)
}
