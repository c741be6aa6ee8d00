/** Which requests wait for a yes: by what the token asks for, and by what the operation does. Pure. */

import { type Changes, type Changing, changesOf } from '../policy/changes.js'
import type { AskMode } from '../wire/kinds.js'

/** The bookkeeping of runs never waits: a parked lease renewal loses its slot, a parked heartbeat its worker. */
export function needFor(mode: AskMode, facts: Changing): Changes {
  const changes = changesOf(facts)
  return mode === 'all' && changes === 'no' && facts.effect !== 'works' ? 'yes' : changes
}

/** The token's own mode, or that of a profile that the owner has marked. */
export function modeOf(
  token: { readonly ask?: AskMode },
  profile: string,
  marked: readonly string[],
): AskMode | undefined {
  return token.ask ?? (marked.includes(profile) ? 'write' : undefined)
}
