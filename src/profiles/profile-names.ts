/** Names of profiles: those Prefect brings along, which ones we create, and how one is shown. */

import { BrokerError } from '../base/errors.js'
import { cleanText } from '../std/text.js'

/**
 * The profiles that Prefect's clients bring along, with the one setting of them that matters to us: `default` is
 * Prefect 2's, the others Prefect 3's.
 */
export const BUNDLED_PROFILES: ReadonlyMap<string, Readonly<Record<string, string>>> = new Map([
  ['ephemeral', {}],
  ['local', { PREFECT_API_URL: 'http://127.0.0.1:4200/api' }],
  ['test', {}],
  ['cloud', {}],
  ['default', {}],
])

/** What Prefect 3 falls back to; Prefect 2 falls back to `default`. */
export const FALLBACK_PROFILE = 'ephemeral'

/** Whether Prefect brings a profile of this name along, whatever the user's file says. */
export function isBundledProfileName(name: string): boolean {
  return BUNDLED_PROFILES.has(name)
}

/** The rule of `newProfileName` on the wire: what shells, TOML and Prefect's clients take without surprises. */
const NEW_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/

/** Throws `profile_name_invalid` for a name that we would not create. Names that already stand in a file are free. */
export function requireNewProfileName(name: string): void {
  if (NEW_NAME.test(name)) return
  throw new BrokerError('profile_name_invalid', `${shownName(name)} can't be the name of a new profile`, {
    hint: 'use letters, digits, "_", "-" and ".", at most 64, beginning with a letter or digit',
  })
}

/** The name in quotes, fit for one line of a message: TOML allows anything in a name. */
export function shownName(name: string): string {
  return `'${cleanText(name, 80)}'`
}
