/** Text from strangers made safe to print, secrets cut out of text, and words quoted for a shell. */

/** Control characters (ANSI escapes begin with one), line separators, marks that reorder or hide text, and non-characters. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}]+/gu

/** What needs no cleaning: the usual case, ten times faster to recognize than to clean. */
const CLEAN = /^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/

const PRINTABLE = /^[\x20-\x7e]*$/

/** Anything that looks like an API key, whoever wrote it. */
const KEY_LIKE = /\bpn[ub]_[\w-]{4,}/g

/** `text` on one line without unprintable characters, at most `max` characters, the last one `…` if it was cut. */
export function plainText(text: string, max: number): string {
  return text.length <= max && CLEAN.test(text) ? text : cut(oneLine(text, max), max)
}

/** `plainText`, with `[key]` for anything that looks like a key. */
export function cleanText(text: string, max = 200): string {
  return cut(oneLine(text, max).replace(KEY_LIKE, '[key]'), max)
}

function oneLine(text: string, max: number): string {
  // Enough for a text that is mostly escapes; the rest is cut off anyway.
  const start = text.slice(0, max * 4 + 10_000)
  return start.replace(UNPRINTABLE, ' ').replace(/\s+/g, ' ').trim()
}

function cut(line: string, max: number): string {
  const characters = [...line]
  return characters.length <= max ? line : `${characters.slice(0, max - 1).join('')}…`
}

/** Text of any length for a terminal, on one line: line breaks and tabs become spaces, unprintable characters go. */
export function printable(text: string): string {
  // Compiling UNPRINTABLE takes longer than most commands that print a name.
  if (PRINTABLE.test(text)) return text
  return text.replace(/[\r\n\t]+/g, ' ').replace(UNPRINTABLE, '')
}

/** As `printable`, but line breaks stay. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n')
}

/** JSON in which no character can steer a terminal: the unprintable ones that `JSON.stringify` leaves are escaped. */
export function printableJson(value: unknown, indent = 2): string {
  const json = JSON.stringify(value, undefined, indent) ?? 'null'
  return json.replace(UNPRINTABLE, (found) => found.replace(/[^\n]/g, escapeUnit))
}

/** One UTF-16 unit, as JSON spells it. */
function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
}

const CENSORED = '[secret]'

/**
 * Prefect keys and our own tokens anywhere (no word boundary: in JSON text a newline before a key is the letter n),
 * Authorization values, `key=` in a query, and the password in a URL.
 */
const PATTERNS: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  [/(?:pn[ub]|pc[us]|pab)_[A-Za-z0-9_-]+/g, CENSORED],
  [/\b(Bearer|Basic)(\s+|%20)[^\s"'\\,;]{16,}/gi, `$1 ${CENSORED}`],
  [/([?&](?:api_)?key=)[^\s"'\\&#]+/gi, `$1${CENSORED}`],
  [/(:\/\/[^\s"'\\/@:]*):[^\s"'\\/@]+@/g, `$1:${CENSORED}@`],
]

/** `text` with everything that looks like a secret replaced by `[secret]`: the second net under `Secret`. */
export function scrub(text: string): string {
  return PATTERNS.reduce((clean, [pattern, replacement]) => clean.replace(pattern, replacement), text)
}

/** One word for a POSIX shell, quoted if it must be. */
export function quoteWord(text: string): string {
  return /^[A-Za-z0-9_.@%+=:,/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** As `quoteWord`, without unprintable characters: for a command that a person copies. */
export function shellWord(text: string): string {
  return quoteWord(printable(text))
}

/** `prefect-auth login --profile cloud` */
export function loginCommand(profile: string): string {
  return `prefect-auth login --profile ${quoteWord(profile)}`
}

/** The first line that is not blank. */
export function firstLine(text: string): string {
  return text.trim().split('\n')[0] ?? ''
}
