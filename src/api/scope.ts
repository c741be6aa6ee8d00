/** Which profiles a caller may see, and which one a request means that names none. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Credentials, ProfileState } from '../serve/credentials.js'
import { type Caller, reachesProfile, requireProfile } from '../tokens/access.js'

/** Whether the caller may see every profile: the owner, and tokens for `*`. */
export function seesAll({ token }: Caller): boolean {
  return token === undefined || token.profiles.includes('*')
}

/** The states of those profiles that the caller may see. */
export function visibleStates(caller: Caller, credentials: Credentials): readonly ProfileState[] {
  const states = credentials.states()
  return seesAll(caller) ? states : states.filter(({ resolved }) => reachesProfile(caller, resolved.name))
}

/**
 * The profile that the request is about: the one asked for; else the active one, if the caller may use it; else the only
 * one of its token. `undefined` means the active one. Throws `profile_not_allowed`.
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
  throw new BrokerError('profile_not_allowed', 'this token does not include the active profile', {
    hint: 'name one of its profiles: ?profile=NAME',
  })
}

/** `undefined` if the active profile does not exist. */
function activeName(credentials: Credentials): string | undefined {
  try {
    return credentials.state().resolved.name
  } catch (error) {
    if (isBrokerError(error, 'profile_not_found')) return undefined
    throw error
  }
}
