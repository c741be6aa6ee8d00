/** Which profiles a caller may see, and which one a request without a name is about. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Credentials, ProfileState } from '../serve/credentials.js'
import { type Caller, reachesProfile, requireProfile } from '../tokens/access.js'

/** Whether the caller's view has no edges: the owner, and tokens for `*`. */
export function seesAll({ token }: Caller): boolean {
  return token === undefined || token.profiles.includes('*')
}

/** The states of those profiles that the caller may see. */
export function visibleStates(caller: Caller, credentials: Credentials): readonly ProfileState[] {
  const states = credentials.states()
  return seesAll(caller) ? states : states.filter(({ resolved }) => reachesProfile(caller, resolved.name))
}

/**
 * The profile to answer for: the one asked for; else the active one, where the caller may; else the only one its token is
 * for. `undefined` means the active one. Throws `profile_not_allowed`.
 */
export function pickProfile(
  caller: Caller,
  asked: string | undefined,
  credentials: Credentials,
): string | undefined {
  if (asked !== undefined) {
    requireProfile(caller, asked)
    return asked
  }
  if (caller.token === undefined || seesAll(caller)) return undefined
  const active = activeName(credentials)
  if (active !== undefined && reachesProfile(caller, active)) return active
  const [only, ...others] = caller.token.profiles
  if (only !== undefined && others.length === 0) return only
  throw new BrokerError('profile_not_allowed', 'this token is not for the active profile', {
    hint: 'name one of its profiles: ?profile=NAME',
  })
}

/** An active profile that does not exist is no profile. */
function activeName(credentials: Credentials): string | undefined {
  try {
    return credentials.state().resolved.name
  } catch (error) {
    if (isBrokerError(error, 'profile_not_found')) return undefined
    throw error
  }
}
