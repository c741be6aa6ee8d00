// TAP as text: what a reader needs of it, and its totals.

// Of each process, of no use beside the output of others.
const FRAME = /^(?:TAP version 14|\d+\.\.\d+|# \{ total: .*|# time=.*|\s*)$/

/** Leaves out subtests that passed, but for one line per test file and what was skipped; ends with a line break. */
export function condense(text) {
  const open = [{ indent: -1, lines: [] }]
  for (const line of text.split('\n')) {
    const inner = open.at(-1)
    const [, start] = /^( *)# Subtest: /.exec(line) ?? []
    const [, end, not] = /^( *)(not )?ok /.exec(line) ?? []
    if (start !== undefined) open.push({ indent: start.length, lines: [line] })
    else if (end?.length === inner.indent) {
      open.pop()
      const kept =
        not === undefined
          ? inner.lines.filter((other) => /^ *ok .* # (?:SKIP|TODO)/.test(other))
          : inner.lines
      open.at(-1).lines.push(...kept)
      if (not !== undefined || / - test\/\S+\.ts # /.test(line)) open.at(-1).lines.push(line)
    } else if (!FRAME.test(line)) inner.lines.push(line)
  }
  return open.flatMap(({ lines }) => lines.map((line) => `${line}\n`)).join('')
}

const COUNTS = ['total', 'pass', 'fail', 'todo', 'skip']

/** The counts that a test process printed last, or undefined if it did not get that far. */
export function countsOf(text) {
  const line = text.match(/^# \{ total: .*\}$/gm)?.at(-1)
  if (line === undefined) return undefined
  const read = (name) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(line)?.[1] ?? 0)
  return Object.fromEntries(COUNTS.map((name) => [name, read(name)]))
}

/** `# { total: 3, pass: 2, fail: 1 }`, as each test process prints it. */
export function totalLine(all) {
  const sums = COUNTS.map((name) => [name, all.reduce((sum, counts) => sum + counts[name], 0)])
  const shown = sums.filter(([name, sum]) => name === 'total' || sum > 0)
  return `# { ${shown.map(([name, sum]) => `${name}: ${sum}`).join(', ')} }`
}
