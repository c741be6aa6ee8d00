/** Raw header lists as Node and undici hand them over: one flat array, each name followed by its value. */

/** Every name with its value, in order; a name without a value is left out. */
export function* pairs(raw: readonly string[]): Generator<readonly [name: string, value: string]> {
  for (let index = 0; index + 1 < raw.length; index += 2) yield [raw[index] ?? '', raw[index + 1] ?? '']
}

/** All values of one header, in order. `wanted` is in lower case. */
export function headerValues(raw: readonly string[], wanted: string): string[] {
  const values: string[] = []
  for (const [name, value] of pairs(raw)) {
    if (name.length === wanted.length && name.toLowerCase() === wanted) values.push(value)
  }
  return values
}

/** A copy with the values that `change` returns for each lower-case name and value; `undefined` drops the header. */
export function rewriteHeaders(
  raw: readonly string[],
  change: (name: string, value: string) => string | undefined,
): string[] {
  const rewritten: string[] = []
  for (const [name, value] of pairs(raw)) {
    const kept = change(name.toLowerCase(), value)
    if (kept !== undefined) rewritten.push(name, kept)
  }
  return rewritten
}

/** As they appear in a message: one line each, with CRLF at the end. */
export function headerLines(raw: readonly string[]): string {
  let lines = ''
  for (const [name, value] of pairs(raw)) lines += `${name}: ${value}\r\n`
  return lines
}
