/** The second net under `Secret`: takes out of any text what looks like a key, a token or a password. */

const CENSORED = '[secret]'

/**
 * Prefect keys and our own tokens wherever they stand (no word boundary: in JSON text a newline before a key is the
 * letter n), Authorization values, `key=` in a query, and the password in a URL.
 */
const PATTERNS: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  [/(?:pn[ub]|pc[us]|pab)_[A-Za-z0-9_-]+/g, CENSORED],
  [/\b(Bearer|Basic)(\s+|%20)[^\s"'\\,;]{16,}/gi, `$1 ${CENSORED}`],
  [/([?&](?:api_)?key=)[^\s"'\\&#]+/gi, `$1${CENSORED}`],
  [/(:\/\/[^\s"'\\/@:]*):[^\s"'\\/@]+@/g, `$1:${CENSORED}@`],
]

/** `text` with everything that looks like a secret replaced by `[secret]`. */
export function scrub(text: string): string {
  let clean = text
  for (const [pattern, replacement] of PATTERNS) clean = clean.replace(pattern, replacement)
  return clean
}
