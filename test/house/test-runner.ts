/** The test runner: whatever fails is named and counted, and nothing is run twice or lost. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

const checkout = fileURLToPath(new URL('../../', import.meta.url))

/** Runs tests in a folder of their own. */
function run(t: Test, files: Readonly<Record<string, string>>, ...args: readonly string[]) {
  const root = mkdtempSync(join(tmpdir(), 'pab-runner-'))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  symlinkSync(join(checkout, 'node_modules'), join(root, 'node_modules'))
  writeFileSync(join(root, 'package.json'), '{"type":"module"}')
  for (const folder of ['src', 'sim', 'test']) mkdirSync(join(root, folder))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true })
    writeFileSync(join(root, name), text)
  }
  const { TAP_CHILD_ID, ...env } = process.env
  return spawnSync(process.execPath, [join(checkout, 'scripts/test.mjs'), ...args], {
    cwd: root,
    encoding: 'utf8',
    env,
  })
}

const passing = "import t from 'tap'\nt.test('adds', async (t) => {\n  t.equal(1 + 1, 2)\n  t.pass()\n})\n"
const failing = "import t from 'tap'\nt.test('subtracts', async (t) => {\n  t.equal(1 - 1, 2)\n})\n"
const real = `import { execFileSync } from 'node:child_process'\nimport t, { type Test } from 'tap'
t.match(execFileSync(process.execPath, ['--version'], { encoding: 'utf8' }), /^v/)\n`

t.test('all passes: a line for each file, and the total last', async (t) => {
  const { status, stdout } = run(t, { 'test/a.ts': passing, 'test/b/c.ts': passing, 'test/real.ts': real })
  t.equal(status, 0)
  for (const name of ['test/a.ts', 'test/b/c.ts', 'test/real.ts']) {
    t.equal(stdout.split(` - ${name} `).length, 2, `${name} once`)
  }
  t.match(stdout, /# \{ total: 5, pass: 5 \}\n$/)
})

t.test('--fast leaves out what starts Node; names of files and folders choose', async (t) => {
  const files = {
    'test/a.ts': passing,
    'test/b/c.ts': passing,
    'test/real.ts': real,
    'test/e2e/d.ts': passing,
  }
  t.match(run(t, files, '--fast').stdout, /# \{ total: 4, pass: 4 \}\n$/)
  t.match(run(t, files, 'test/real.ts', 'test/b').stdout, /# \{ total: 3, pass: 3 \}\n$/)
  t.match(run(t, files, 'test/none.ts').stderr, 'no test in test/none.ts')
})

t.test('a failure is shown with its file, its test and the line in the source', async (t) => {
  const { status, stdout } = run(t, { 'test/a.ts': passing, 'test/b.ts': failing })
  t.equal(status, 1)
  t.match(stdout, /not ok \d - test\/b\.ts/)
  t.match(stdout, /not ok 1 - subtracts/)
  t.match(stdout, /fileName: test\/b\.ts\s+lineNumber: 3/)
  t.notMatch(stdout, 'adds')
  t.match(stdout, /# \{ total: 3, pass: 2, fail: 1 \}\n$/)
})

t.test('a file that cannot be imported, throws later or ends its process is named and fails', async (t) => {
  const ends: Readonly<Record<string, string>> = {
    'is not there': "import './nothing.js'\n",
    'throws later':
      "setTimeout(() => { throw new Error('later') }, 1)\nawait new Promise((r) => setTimeout(r, 50))\n",
    exits: 'process.exit(0)\n',
    'is killed': "process.kill(process.pid, 'SIGKILL')\nawait new Promise((r) => setTimeout(r, 1000))\n",
  }
  for (const [name, text] of Object.entries(ends)) {
    const { status, stdout } = run(t, { 'test/a.ts': passing, 'test/b.ts': `${passing}${text}` })
    t.equal(status, 1, name)
    t.match(stdout, /not ok.* test\/b\.ts/, name)
    t.match(stdout, /# \{ total: \d+.* fail: \d+ \}\n$/, name)
  }
})

t.test('what is skipped is shown and counted', async (t) => {
  const skipping = "import t from 'tap'\nt.test('on the moon', { skip: 'no moon' }, async () => {})\n"
  const { status, stdout } = run(t, { 'test/a.ts': `${passing}`, 'test/b.ts': skipping })
  t.equal(status, 0)
  t.match(stdout, /ok \d - on the moon # SKIP no moon/)
  t.match(stdout, /# \{ total: 3, pass: 2, skip: 1 \}\n$/)
})
