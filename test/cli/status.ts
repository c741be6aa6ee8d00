/** What `status` prints and exits with for scripts, prompts and narrow terminals; wrong command lines that are answered with the right one. */
import { stripVTControlCharacters } from 'node:util'
import t from 'tap'
import { formatTable, wrap } from '../../src/cli/text.js'
import { buildCli } from '../fixtures/built-cli.js'
import { openPseudoTerminal } from '../fixtures/pseudo-terminal.js'
import { startScriptedDaemon } from '../fixtures/scripted-daemon.js'
import { sampleProfileStatus, sampleStatus } from '../fixtures/wire-samples.js'

t.setTimeout(300_000)
const cli = await buildCli(t)

const good = sampleProfileStatus()
const out = {
  ...good,
  key: undefined,
  key_source: 'none',
  ready: false,
  reason: 'no key',
  workspace: undefined,
}
const rejected = { ...good, state: 'rejected', ready: false, reason: 'Prefect no longer accepts the key' }
const doubted = { ...good, state: 'doubted', notices: ['Prefect has refused the key'] }

t.test('exit codes tell a script what status tells a person', async (t) => {
  const table = [
    ['in order', good, [], 0, 0],
    ['logged out', out, [], 3, 3],
    ['rejected', rejected, [], 3, 3],
    ['something to know', doubted, [], 0, 1],
    ['no such profile', good, ['-p', 'nope'], 3, 3],
    ['of no kind', { ...good, kind: 'none', key_source: 'none' }, [], 3, 3],
    ['a server', { ...good, kind: 'server', key_source: 'none', key: undefined }, [], 0, 0],
  ] as const
  for (const [name, profile, args, plain, strict] of table) {
    const daemon = await startScriptedDaemon(t, {
      'GET /v1/status': { json: sampleStatus({ profiles: [profile], notices: [] }) },
    })
    const env = daemon.env
    t.equal((await cli.run(['status', ...args], { env })).code, plain, name)
    const check = await cli.run(['status', '--check', ...args], { env })
    t.equal(check.code, strict, `${name}, --check`)
    t.equal(check.stdout === '', strict === 0, `${name}: quiet if nothing is wrong`)
    t.equal((await cli.run(['status', '--check', '--json', ...args], { env })).code, strict)
  }
})

t.test('whoever looks is told how Prefect is now', async (t) => {
  const found = {
    name: 'prefect',
    verdict: 'problem',
    finding: 'the workspace is gone',
    remedy: 'prefect-auth workspace set',
  }
  for (const [profile, check, wanted] of [
    [good, found, /the workspace is gone\n +prefect-auth workspace set/],
    [good, { ...found, verdict: 'ok' }, /No problems found/],
    [out, found, /! no key/],
  ] as const) {
    const json = sampleStatus({ profiles: [profile], notices: [] })
    const daemon = await startScriptedDaemon(t, {
      'GET /v1/status': { json },
      'GET /v1/doctor': { json: { checks: [check] } },
    })
    t.match((await cli.run(['status'], { env: daemon.env })).stdout, wanted)
    const asked = daemon.asked.filter(({ path }) => path === '/v1/doctor')
    t.same(
      asked.map(({ query }) => query),
      profile.ready ? [{ profile: 'cloud', check: 'prefect' }] : [],
    )
    await cli.run(['status', '--short'], { env: daemon.env })
    t.equal(
      daemon.asked.filter(({ path }) => path === '/v1/doctor').length,
      asked.length,
      'a prompt asks nobody',
    )
  }
})

t.test('one line for a prompt', async (t) => {
  for (const [profile, line] of [
    [good, /^cloud prefect\/terry \d+ days\n$/],
    [doubted, /^cloud prefect\/terry \d+ days !\n$/],
    [out, /^cloud not logged in !\n$/],
    [{ ...out, kind: 'none' }, /^cloud not logged in !\n$/],
  ] as const) {
    const expiresAt = new Date(Date.now() + 9 * 86_400_000).toISOString()
    const key = profile.key && { ...good.key, expires_at: expiresAt }
    const json = sampleStatus({ profiles: [{ ...profile, key }], notices: [] })
    const daemon = await startScriptedDaemon(t, { 'GET /v1/status': { json } })
    t.match((await cli.run(['status', '--short'], { env: daemon.env })).stdout, line)
  }
})

t.test('fits terminals of 60, 80 and 200 columns, and is whole where there is none', async (t) => {
  const notices = [`a very long notice ${'that goes on and on '.repeat(10)}`.trim()]
  const json = sampleStatus({ profiles: [{ ...good, notices }] })
  const daemon = await startScriptedDaemon(t, { 'GET /v1/status': { json } })
  for (const columns of [60, 80, 200]) {
    const command = `stty cols ${columns}; '${process.execPath}' '${cli.program}' status`
    const terminal = openPseudoTerminal(t, { env: daemon.env, command })
    t.equal(await terminal.ended, 0)
    const lines = stripVTControlCharacters(terminal.screen()).split(/\r?\n/)
    const long = lines.filter((line) => line.length > columns)
    t.same(long, [], `${columns} columns`)
  }
  const { stdout } = await cli.run(['status'], { env: daemon.env })
  t.ok(stdout.includes(notices[0] ?? ''), 'a script gets whole lines')
})

t.test('a table gives way where it matters least', (t) => {
  const header = ['ID', 'NAME', 'URL']
  const rows = [['1', 'a rather long name', 'https://api.example.com/api']]
  t.equal(formatTable(header, rows).split('\n')[1], '1   a rather long name  https://api.example.com/api')
  t.equal(
    formatTable(header, rows, { width: 40, givesWay: ['NAME'] }).split('\n')[1],
    '1   a rath…  https://api.example.com/api',
  )
  for (const width of [20, 30, 40]) {
    const text = formatTable(header, rows, { width, givesWay: ['NAME'] })
    t.ok(
      text.split('\n').every((line) => line.length <= width),
      `${width}`,
    )
  }
  t.equal(
    wrap('one two three', { width: 9, indent: 2 }),
    'one two three',
    'nothing is broken where there is no room',
  )
  t.equal(wrap('aaaa bbbb cccc dddd eeee ffff', { width: 26, indent: 2 }), 'aaaa bbbb cccc dddd eeee\n  ffff')
  t.end()
})

t.test('a wrong command line is answered with the right one', async (t) => {
  const { env } = await startScriptedDaemon(t, {})
  for (const [args, hint] of [
    [['whoami'], 'try: prefect-auth status\n'],
    [['switch', 'prod'], 'try: prefect-auth profile use NAME\n'],
    [['nonsense'], 'try: prefect-auth --help\n'],
    [['token', 'create', '--nope'], 'try: prefect-auth token create --help\n'],
    [['profile', 'nope'], 'try: prefect-auth profile --help\n'],
  ] as const) {
    const outcome = await cli.run(args, { env })
    t.match(outcome, { code: 2, stdout: '' })
    t.ok(outcome.stderr.endsWith(hint), `${args.join(' ')}: ${outcome.stderr}`)
  }
  const help = await cli.run(['help', 'token', 'create'], { env })
  t.same(help, await cli.run(['token', 'create', '--help'], { env }))
  t.match(help, { code: 0, stdout: /--expires-in/ })
})
