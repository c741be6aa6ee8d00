/** Lines of a file from its end: all of them, however they fall on what is read at once, and in short turns. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readLinesBackwards } from '../../src/os/lines.js'

/** What is read at once. */
const PIECE = 64 * 1024

async function linesIn(path: string, stopAfter = Number.POSITIVE_INFINITY) {
  const lines: string[] = []
  const isWhole = await readLinesBackwards(path, (line) => {
    lines.push(line.toString('utf8'))
    return lines.length < stopAfter
  })
  return { lines, isWhole }
}

const TEXTS: readonly (readonly [name: string, text: string])[] = [
  ['nothing', ''],
  ['one line without an end', 'a'],
  ['empty lines', '\n\na\n\nb\n\n'],
  ['a line over two pieces', `a\n${'b'.repeat(PIECE)}\nc\n`],
  ['a line over many pieces', `a\n${'b'.repeat(3 * PIECE)}\nc\n`],
  ['characters of several bytes on the edge of a piece', `${'é→𝄞'.repeat(PIECE / 4)}\nx\n`],
  ...[-2, -1, 0, 1, 2].map(
    (more) => [`an edge ${more} bytes beside an end`, `a\n${'b'.repeat(PIECE - 1 + more)}\n`] as const,
  ),
]

for (const [name, text] of TEXTS) {
  t.test(`passes the lines of ${name}, newest first`, async (t) => {
    const path = join(t.testdir(), 'file')
    writeFileSync(path, text)
    const expected = text.split('\n').filter((line) => line !== '')
    t.strictSame(await linesIn(path), { lines: expected.reverse(), isWhole: true })
  })
}

t.test('leaves out a line that is too long to be one of ours, and keeps those around it', async (t) => {
  const path = join(t.testdir(), 'file')
  writeFileSync(path, `a\n${'b'.repeat(700_000)}\nc\n`)
  t.strictSame((await linesIn(path)).lines, ['c', 'a'])
  writeFileSync(path, 'b'.repeat(700_000))
  t.strictSame((await linesIn(path)).lines, [])
})

t.test('stops when it is told to', async (t) => {
  const path = join(t.testdir(), 'file')
  writeFileSync(path, 'a\nb\nc\n')
  t.strictSame(await linesIn(path, 2), { lines: ['c', 'b'], isWhole: false })
})

t.test('a file that is missing has no lines', async (t) => {
  t.strictSame(await linesIn(join(t.testdir(), 'file')), { lines: [], isWhole: true })
})

t.test('others get their turn at least every 64 lines', async (t) => {
  const path = join(t.testdir(), 'file')
  writeFileSync(path, 'line\n'.repeat(10_000))
  let turns = 0
  let isOver = false
  const count = () => {
    turns += 1
    if (!isOver) setImmediate(count)
  }
  setImmediate(count)
  let last = 0
  let since = 0
  let most = 0
  await readLinesBackwards(path, () => {
    since = turns === last ? since + 1 : 1
    last = turns
    most = Math.max(most, since)
    return true
  })
  isOver = true
  t.ok(most <= 64, `at most ${most} lines in one turn`)
})
