/** Text from elsewhere (handles, reasons, event facts) made safe for a terminal. */

/** Control characters, C1 among them, and those that turn the reading direction: a terminal obeys them. */
const UNPRINTABLE = /[\p{Cc}\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu

/** One line: line breaks and tabs become spaces, all other control characters go. */
export function printable(text: string): string {
  return text.replace(/[\r\n\t]+/g, ' ').replace(UNPRINTABLE, '')
}

/** As `printable`, but line breaks stay. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n')
}

/** JSON in which no character can steer a terminal: what `JSON.stringify` leaves is escaped. */
export function printableJson(value: unknown, indent = 2): string {
  return (JSON.stringify(value, undefined, indent) ?? 'null').replace(UNPRINTABLE, (character) =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
