/** The benchmark: its table, README.md and picture have the same rows, and no row is printed without a peer. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = fileURLToPath(new URL('../../', import.meta.url))
const read = (path: string) => readFileSync(join(root, path), 'utf8')

/** What JavaScript in `bench/` says, as JSON. */
function evaluate<T>(code: string): T {
  const source = `import { ROWS, GROUPS } from './bench/rows.mjs'; import * as render from './bench/render.mjs'; process.stdout.write(JSON.stringify(${code}))`
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', source], { cwd: root })
  const parsed: T = JSON.parse(output.toString())
  return parsed
}

interface Row {
  readonly id: string
  readonly what: string
  readonly unit: string
  readonly beside: readonly string[]
  readonly goals: readonly string[]
  readonly isDrawn?: boolean
}
const rows = evaluate<readonly Row[]>(
  'ROWS.map((row) => ({ ...row, goals: row.goals.map((goal) => render.goalText(goal, row.unit)) }))',
)
/** Two pairs for each row, in which ours took twice and three times what everybody else did. */
const SAMPLES = `Object.fromEntries(ROWS.map(({ id, beside }) => [id, { ours: [40, 60, 8], ...Object.fromEntries(beside.map((name) => [name, [20, 20, 4]])) }]))`

t.test('README.md has the rows of the table, with their units, peers and goals', async (t) => {
  const table = /<!-- written by --readme -->([\s\S]*)<!-- end/.exec(read('bench/README.md'))?.[1] ?? ''
  const lines = table.split('\n').filter((line) => /^\| (?!work |-)/.test(line))
  const shown = lines.map((line) => line.split('|').map((cell) => cell.trim()))
  t.same(
    shown.map(([, what, unit]) => [what, unit]),
    rows.map(({ what, unit }) => [what, unit]),
  )
  for (const [at, { id, beside, goals }] of rows.entries()) {
    const [, , , , ceiling = '', peers = '', goal = ''] = shown[at] ?? []
    const named = [ceiling, ...(peers === '–' ? [] : peers.split(', '))]
    t.same(
      named.map((cell) => cell.replace(/ [\d.]+ \([^)]*\)$/, '')),
      beside,
      id,
    )
    t.equal(goal.replaceAll(' (missed)', ''), goals.join(', ') || '–', id)
  }
})

t.test('README.md explains every group, and has no other file than there is', async (t) => {
  const groups = evaluate<readonly string[]>('GROUPS')
  const page = read('bench/README.md')
  const explained = [...page.matchAll(/^\| (`\w+`(?:, `\w+`)*) \|/gm)].flatMap(([, names = '']) =>
    names.split(', ').map((name) => name.replaceAll('`', '')),
  )
  t.same(explained.sort(), [...groups].sort())
  const files = [...page.matchAll(/`((?:c\/)?[\w-]+\.(?:mjs|go|c|py))/g)].map(([, file = '']) => file)
  t.ok(files.length > 5)
  for (const file of files) t.ok(existsSync(join(root, 'bench', file)), file)
  // Nothing there that nobody starts or mentions.
  const sources = readdirSync(join(root, 'bench')).filter((name) => /\.(mjs|go|py|sh)$/.test(name))
  for (const name of sources) {
    const others = sources.filter((other) => other !== name).map((other) => read(`bench/${other}`))
    const mention = new RegExp(`\\b${name}|'${name.replace(/\.\w+$/, '')}'`)
    t.match([page, ...others].join('\n'), mention, name)
  }
})

t.test('the picture has every row that is drawn, its peers, a date and versions', async (t) => {
  const picture = read('docs/speed.svg')
  for (const { beside, unit, isDrawn } of rows.filter((row) => row.isDrawn === true)) {
    t.ok(isDrawn && picture.includes(`, ${unit}`), unit)
    for (const name of beside) t.ok(picture.includes(`>${name}</text>`), name)
  }
  t.match(picture, /\d{4}-\d\d-\d\d, \d+ cores.*Node \d/s)
  t.match(picture, /nginx \d.*Go \d.*Caddy \d/s)
  t.match(picture, /prefers-color-scheme: dark/)
  t.match(read('docs/speed.md'), /\(speed\.svg\)/)
})

t.test('a ratio is the median of the pairs, and a missed goal says so', async (t) => {
  const table = evaluate<string>(`render.renderTable(${SAMPLES})`)
  const [, , first = '', second = ''] = table.split('\n')
  t.match(first, /\| 40\.0 \| nginx 20\.0 \(2\.00x\) \| HAProxy 20\.0 \(2\.00x\)/)
  t.match(first, /≤ 3x nginx, ≤ 0\.9x Go ReverseProxy \(missed\)/)
  t.match(second, /≥ 0\.5x nginx \|/)
})

t.test('a row without one of its peers is an error, not a shorter row', async (t) => {
  const without = `ROWS.flatMap(({ id, beside }) => ['ours', ...beside].map((name) => {
    const samples = ${SAMPLES}
    delete samples[id][name]
    try { return render.renderTable(samples) } catch ({ message }) { return { id, name, message } }
  }))`
  const seen =
    evaluate<readonly { readonly id: string; readonly name: string; readonly message: string }[]>(without)
  t.equal(
    seen.length,
    rows.reduce((sum, { beside }) => sum + 1 + beside.length, 0),
  )
  for (const { id, name, message } of seen)
    t.match(message, new RegExp(`^${id} .*: not measured: `), `${id} without ${name}`)
})

t.test('a peer that is not installed ends the run with the command that installs it', async (t) => {
  const run = (...args: readonly string[]) =>
    spawnSync(process.execPath, ['bench/run.mjs', ...args], {
      ...{ cwd: root, encoding: 'utf8' },
      env: { ...process.env, PAB_BENCH_DIR: t.testdir() },
    })
  t.match(run('--table'), { status: 1, stdout: '', stderr: /not installed: .*caddy[\s\S]*bench\/peers\.sh/ })
  t.match(run('--table', 'nonsense'), { status: 2, stdout: '', stderr: /groups: / })
  t.match(run('requests'), { status: 2, stdout: '', stderr: /usage/ })
})
