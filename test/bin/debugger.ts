/** The daemon does not run with a debugger port, however it was asked for one. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { buildDaemon, startProgram } from '../fixtures/daemon-program.js'

const program = await buildDaemon(t)

function makeHome(t: Test): string {
  const root = mkdtempSync(join(tmpdir(), 'pab-d-'))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  return root
}

for (const [how, flags, options, hint] of [
  ['NODE_OPTIONS=--inspect', [], '--inspect=127.0.0.1:0', /env -u NODE_OPTIONS prefect-authd/],
  ['NODE_OPTIONS with other options', [], '--max-old-space-size=200 --inspect=0', /NODE_OPTIONS/],
  ['--inspect', ['--inspect=0'], '', /without --inspect/],
  [
    'a module that is loaded first, as an editor has it',
    ['--import', 'data:text/javascript,import i from "node:inspector";i.open(0)'],
    '',
    /NODE_OPTIONS/,
  ],
] as const) {
  t.test(`refuses to start with ${how}`, async (t) => {
    const home = makeHome(t)
    const env = {
      PATH: process.env.PATH ?? '',
      HOME: home,
      ...(options === '' ? {} : { NODE_OPTIONS: options }),
    }
    const { status, stderr } = spawnSync(process.execPath, [...flags, program, '--vault-backend=file'], {
      env,
      encoding: 'utf8',
      timeout: 20_000,
      killSignal: 'SIGKILL',
    })
    t.equal(status, 1)
    t.match(stderr, /^prefect-authd: cannot start with a debugger port: through ws:\/\/127\.0\.0\.1:\d+ /m)
    t.match(stderr, hint)
  })
}

t.test('closes a debugger port that was opened after the start, and says so', async (t) => {
  const root = makeHome(t)
  const late =
    'import i from "node:inspector";process.on("SIGUSR2",()=>{i.open(0,"127.0.0.1");console.error("opened",i.url())})'
  const daemon = startProgram(t, {
    program,
    root,
    env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(late)}` },
  })
  await daemon.up()
  daemon.child.kill('SIGUSR1')
  daemon.child.kill('SIGUSR2')
  while (!daemon.stderr().includes('a debugger port was open'))
    await new Promise((resolve) => setTimeout(resolve, 20))
  t.match(daemon.stderr(), /opened ws:/)
  const url = new URL(/opened (ws:\S+)/.exec(daemon.stderr())?.[1] ?? '')
  await t.rejects(fetch(`http://${url.host}/json/list`), 'nobody listens there now')
  t.equal((await daemon.ask('GET', '/livez')).status, 200)
})
