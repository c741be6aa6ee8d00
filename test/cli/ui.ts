/** `ui`: the link is printed where no browser is to be opened, and opened, not printed, where one is. */
import { chmodSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { buildCli } from '../fixtures/built-cli.js'
import { openPseudoTerminal } from '../fixtures/pseudo-terminal.js'
import { startScriptedDaemon } from '../fixtures/scripted-daemon.js'
import { until } from '../fixtures/shipped.js'

const cli = await buildCli(t)
const url = `http://127.0.0.1:40123/#${'s'.repeat(43)}`
const script = {
  'POST /v1/page': { status: 201, json: { url, expires_at: '2026-11-20T18:46:00.000Z' } },
}

const ROWS: readonly (readonly [
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  says: RegExp,
])[] = [
  [[], {}, /^Open it once, before 2026-11-20 18:46:00 UTC, in a browser on this machine\n$/],
  [['--no-browser'], { DISPLAY: ':0' }, /^Open it once/],
  [[], { SSH_CONNECTION: '10.0.0.2 1 10.0.0.1 22' }, /ssh -L 40123:127\.0\.0\.1:40123 HOST/],
]
for (const [args, env, says] of ROWS) {
  t.test(`ui ${args.join(' ')} ${Object.keys(env).join(' ')}`, async (t) => {
    const daemon = await startScriptedDaemon(t, script)
    const { code, stdout, stderr } = await cli.run(['ui', ...args], { env: { ...daemon.env, ...env } })
    t.equal(code, 0, stderr)
    t.equal(stdout, `${url}\n`, 'the link, on a line of its own')
    t.match(stderr, says)
  })
}

t.test('--json never opens a browser: whoever reads the answer uses the link', async (t) => {
  const daemon = await startScriptedDaemon(t, script)
  const { stdout } = await cli.run(['ui', '--json'], { env: { ...daemon.env, BROWSER: '/bin/false' } })
  t.same(JSON.parse(stdout), script['POST /v1/page'].json)
})

t.test('at a terminal it opens the browser with the link, and leaves the link off the screen', async (t) => {
  const dir = t.testdir({ firefox: '#!/bin/sh\necho "$1" >"$0.said"\n' })
  const browser = join(dir, 'firefox')
  chmodSync(browser, 0o755)
  const daemon = await startScriptedDaemon(t, script)
  const command = `'${process.execPath}' '${cli.program}' ui`
  const terminal = openPseudoTerminal(t, { env: { ...daemon.env, BROWSER: browser }, command })
  await terminal.waitFor('The page is open in your browser')
  const said = () => (existsSync(`${browser}.said`) ? readFileSync(`${browser}.said`, 'utf8') : '')
  await until(
    () => said() !== '',
    () => 'no browser was opened',
  )
  t.equal(said(), `${url}\n`)
  t.notMatch(terminal.screen(), /sssss/)
})
