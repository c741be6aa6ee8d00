/** Just enough TOML for the fast path: the scalar values of a file by their dotted paths. The daemon's parser is a package. */

/** Values by path (`tool.prefect.api.url`); strings without quotes, all else as written. Stops at what it does not understand. */
export function scanToml(text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>()
  const scan = createScanner(text)
  let table: readonly string[] = []
  while (scan.take(/[\s\uFEFF]*(?:#[^\n]*[\s]*)*/y) !== undefined && !scan.isAtEnd()) {
    if (scan.take(/\[\[?/y) !== undefined) {
      table = readPath(scan)
      if (scan.take(/[ \t]*\]\]?/y) === undefined) break
    } else if (!readPair(scan, table, values)) break
  }
  return values
}

type Scanner = ReturnType<typeof createScanner>

function createScanner(text: string) {
  let at = 0
  return {
    isAtEnd: () => at >= text.length,
    /** The text that the sticky `pattern` matches here, which is skipped. */
    take(pattern: RegExp): string | undefined {
      pattern.lastIndex = at
      const found = pattern.exec(text)?.[0]
      at += found?.length ?? 0
      return found
    },
  }
}

function readPath(scan: Scanner): readonly string[] {
  const path: string[] = []
  do {
    scan.take(/[ \t]*/y)
    const bare = scan.take(/[A-Za-z0-9_-]+/y)
    const name = bare ?? readString(scan)
    if (name === undefined) return path
    path.push(name)
    scan.take(/[ \t]*/y)
  } while (scan.take(/\./y) !== undefined)
  return path
}

function readPair(scan: Scanner, table: readonly string[], values: Map<string, string>): boolean {
  const path = readPath(scan)
  if (path.length === 0 || scan.take(/[ \t]*=[ \t]*/y) === undefined) return false
  return readValue(scan, [...table, ...path], values)
}

function readValue(scan: Scanner, path: readonly string[], values: Map<string, string>): boolean {
  if (scan.take(/\{\s*/y) !== undefined) return readInline(scan, path, values)
  if (scan.take(/\[/y) !== undefined) return skipArray(scan)
  const value = readString(scan) ?? scan.take(/[^\s,#\]}]+/y)
  if (value !== undefined) values.set(path.join('.'), value)
  return value !== undefined
}

function readInline(scan: Scanner, table: readonly string[], values: Map<string, string>): boolean {
  while (scan.take(/\s*\}/y) === undefined) {
    if (!readPair(scan, table, values)) return false
    scan.take(/\s*,?\s*/y)
  }
  return true
}

function skipArray(scan: Scanner): boolean {
  for (let depth = 1; depth > 0; ) {
    if (scan.isAtEnd()) return false
    if (scan.take(/[[{]/y) !== undefined) depth += 1
    else if (scan.take(/[\]}]/y) !== undefined) depth -= 1
    else if (readString(scan) === undefined && scan.take(/#[^\n]*|[^[\]{}"'#]+/y) === undefined) return false
  }
  return true
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', e: '\x1b' }

function readString(scan: Scanner): string | undefined {
  const literal = scan.take(/'''[\s\S]*?'''(?!')|'[^'\n]*'/y)
  if (literal !== undefined) return withoutQuotes(literal, "'''")
  const basic = scan.take(/"""(?:[^\\]|\\[\s\S])*?"""(?!")|"(?:[^"\\\n]|\\.)*"/y)
  if (basic === undefined) return undefined
  return withoutQuotes(basic, '"""').replace(
    /\\(?:u([\da-fA-F]{4})|U([\da-fA-F]{8})|([\s\S]))/g,
    (_all, short, long, one) => {
      if (one !== undefined) return ESCAPES[one] ?? one
      const code = Number.parseInt(short ?? long, 16)
      return code <= 0x10ffff ? String.fromCodePoint(code) : ''
    },
  )
}

/** A line break right after three quotes does not count. */
function withoutQuotes(text: string, long: string): string {
  return text.startsWith(long) && text.length >= 6
    ? text.slice(3, -3).replace(/^\r?\n/, '')
    : text.slice(1, -1)
}
