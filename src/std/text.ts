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

/** Control characters (ANSI escapes begin with one), line separators, and marks that reorder or hide text. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]+/gu

/** What needs no cleaning: the usual case, ten times faster to see than to clean. */
const CLEAN = /^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/

/** `text` on one line without unprintable characters, at most `max` characters, the last one `…` where it was cut. */
export function plainText(text: string, max: number): string {
  if (text.length <= max && CLEAN.test(text)) return text
  const line = text
    .slice(0, max * 4 + 1000)
    .replace(UNPRINTABLE, ' ')
    .replace(/\s+/g, ' ')
    .trim()
  return line.length <= max ? line : `${line.slice(0, max - 1)}…`
}

/** Control characters (terminal escapes), line separators, and what reorders or hides text (bidi, zero width). */
const NOT_PLAIN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}]+/gu

/** Anything that looks like an API key, whoever wrote it there. */
const KEY_LIKE = /\bpn[ub]_[\w-]{4,}/g

/** One printable line of at most `length` characters, without anything that looks like a key. */
export function cleanText(text: string, length = 200): string {
  const line = text.slice(0, 10_000).replace(NOT_PLAIN, ' ').replace(/\s+/g, ' ').trim()
  const masked = line.replace(KEY_LIKE, '[key]')
  const characters = [...masked]
  return characters.length <= length ? masked : `${characters.slice(0, length - 1).join('')}…`
}

/** Quotes for a POSIX shell where that is needed. */
export function quoteWord(text: string): string {
  return /^[A-Za-z0-9_.@%+=:,/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** `prefect-auth login --profile cloud` */
export function loginCommand(profile: string): string {
  return `prefect-auth login --profile ${quoteWord(profile)}`
}
