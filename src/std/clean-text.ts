/** Makes text of strangers fit for one line of a terminal: what a page or an account's name says is not trusted. */

/** Control characters (terminal escapes), line separators, and what reorders or hides text (bidi, zero width). */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}]+/gu

/** Anything that looks like an API key, whoever wrote it there. */
const KEY_LIKE = /\bpn[ub]_[\w-]{4,}/g

/** One printable line of at most `length` characters, without anything that looks like a key. */
export function cleanText(text: string, length = 200): string {
  const line = text.slice(0, 10_000).replace(UNPRINTABLE, ' ').replace(/\s+/g, ' ').trim()
  const masked = line.replace(KEY_LIKE, '[key]')
  const characters = [...masked]
  return characters.length <= length ? masked : `${characters.slice(0, length - 1).join('')}…`
}
