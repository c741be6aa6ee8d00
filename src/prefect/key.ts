/** API keys as people paste them, and what they paste instead. The prefix never decides, Prefect does. */

import { BrokerError } from '../base/errors.js'
import { Secret } from '../std/secret.js'

/** Prefect's have 40 characters. */
const MAX_KEY_LENGTH = 1000

const KEYS_PAGE = 'https://app.prefect.cloud/my/api-keys'

/** What people paste instead of a key; better explanations come first. */
const MISTAKES: readonly (readonly [looksLike: RegExp, problem: string, hint: string])[] = [
  [/^$/, 'it is empty', 'prefect-auth login'],
  [
    /^(export\s+|set\s+|\$env:)?PREFECT_API_KEY\s*=/i,
    'it is a whole assignment',
    'give only what follows the =',
  ],
  [/^(Authorization:|Bearer\s|Basic\s)/i, 'it is an Authorization header', 'give only the key itself'],
  [/^[a-z][a-z0-9+.-]*:\/\//i, 'it is a URL', `give the key itself: ${KEYS_PAGE}`],
  [
    /^pcu_/,
    'it is a key of Prefect Cloud 1 (pcu_), which no longer works',
    `prefect-auth login, or create a key at ${KEYS_PAGE}`,
  ],
  [
    /^pab_/,
    'it is a prefect-auth token, not a key of Prefect',
    `prefect-auth login, or create a key at ${KEYS_PAGE}`,
  ],
  [/[\r\n]/, 'it has more than one line', 'give the key alone, on one line'],
  [/\s/, 'it contains spaces', 'give the key alone, without spaces'],
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this looks for
  [/[\x00-\x1f\x7f]/, 'it contains control characters', 'copy it again, and paste it as plain text'],
  [/[^\x21-\x7e]/, 'it contains characters that are not ASCII', 'copy it again, and paste it as plain text'],
]

/**
 * The key in `text`, without white space and a pair of quotes around it. Throws `key_malformed`, which says what it is
 * instead and never repeats it.
 */
export function parseApiKey(text: string): Secret {
  const key = unquote(text.trim())
  for (const [looksLike, problem, hint] of MISTAKES) {
    if (looksLike.test(key)) throw malformed(problem, hint)
  }
  if (key.length > MAX_KEY_LENGTH) {
    throw malformed(`it is longer than ${MAX_KEY_LENGTH} characters`, 'give the key alone')
  }
  return new Secret(key)
}

/** Whether `key` can be put into an HTTP header as it is. Not whether anyone accepts it. */
export function isSendableKey(key: string): boolean {
  return key.length <= MAX_KEY_LENGTH && /^[\x21-\x7e]+$/.test(key)
}

function malformed(problem: string, hint: string): BrokerError {
  return new BrokerError('key_malformed', `this is not an API key of Prefect Cloud: ${problem}`, { hint })
}

function unquote(text: string): string {
  const quoted = /^(["'`])([\s\S]*)\1$/.exec(text)
  return quoted?.[2] === undefined ? text : quoted[2].trim()
}
