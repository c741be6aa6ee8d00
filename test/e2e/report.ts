/** The report of a whole session holds none of its secrets, and none of its names and ids. */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { startShipped } from '../fixtures/shipped.js'

t.setTimeout(300_000)

/** Every text below `value` under one of these names. */
function valuesOf(value: unknown, names: RegExp): readonly string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, inside]) =>
    typeof inside === 'string' && names.test(name) ? [inside] : valuesOf(inside, names),
  )
}

t.test('a report contains no secret, e-mail, handle or id of the session', async (t) => {
  const cloud = await startCloudSimulator({
    accounts: [{ handle: 'acme-corp', workspaces: ['terry', 'production'] }],
  })
  t.teardown(() => cloud.close())
  const broker = await startShipped(t, {
    PREFECT_CLOUD_API_URL: cloud.apiUrl,
    PREFECT_CLOUD_UI_URL: cloud.uiUrl,
  })
  const { cli, home } = broker
  const pasted = cloud.issueKey({ name: 'pasted' })
  const login = await cli(['login', '--key-stdin', '--exchange', '--workspace', 'acme-corp/terry'], {
    input: pasted,
  })
  t.equal(login.code, 0, login.stderr)
  const server = [
    'profile',
    'create',
    'staging-eu',
    '--api-url',
    'https://user:pass-w0rd@server.corp.example/api',
    '--auth-string-stdin',
  ]
  await cli(server, { input: 'admin:summer2026' })
  const token = (await cli(['token', 'create', '--name', 'nightly build'])).stdout.trim()
  const proxied = (await cli(['exec', '--proxy', '--', 'sh', '-c', 'echo $PREFECT_API_KEY'])).stdout.trim()
  const served = (await cli(['exec', '--', 'sh', '-c', 'echo $PREFECT_API_KEY'])).stdout.trim()
  t.match([token, proxied, served], [/^pab_/, /^pab_/, /^pnu_/])

  const status = JSON.parse((await cli(['status', '--json'])).stdout)
  const keys = JSON.parse((await cli(['keys', 'ls', '--json'])).stdout)
  const tokens = JSON.parse((await cli(['token', 'ls', '--json'])).stdout)
  const names = [
    ...valuesOf(status, /^(email|handle|account_id|workspace_id|id|fingerprint|state_dir)$/),
    ...valuesOf(keys, /^(id|name|fingerprint)$/),
    ...valuesOf(tokens, /^(id|name)$/),
  ]
  t.ok(names.length > 10, 'there is something to look for')
  const log = join(home, '.local/state/prefect-auth/authd.log')
  const gone = {
    profile: 'of-last-year',
    email: 'old@corp.example',
    keyName: 'prefect-auth build7',
    url: 'https://h.corp.example/x',
  }
  writeFileSync(log, `${JSON.stringify({ level: 30, time: 1, msg: `key ${served} renewed`, ...gone })}\n`, {
    mode: 0o600,
  })

  const file = join(home, 'report.txt')
  t.match(await cli(['report', '--output', file]), { code: 0, stdout: '', stderr: /read it/ })
  t.equal(statSync(file).mode & 0o777, 0o600)
  const text = readFileSync(file, 'utf8')
  for (const part of ['Versions', 'Doctor', 'Status', 'Service', 'Units', 'Log']) t.match(text, `## ${part}`)
  t.match(text, /prefect-authd \d/)
  t.match(text, /key \[secret\] renewed/, 'the log is in it')
  const secrets = [pasted, token, proxied, served, 'summer2026', 'pass-w0rd']
  const others = ['staging-eu', 'server.corp', 'corp.example', 'of-last-year', 'build7', 'acme-corp', home]
  // As whole words: a machine may be called "vm", and a job "sh".
  const words = new Set(
    text
      .toLowerCase()
      .split(/[^a-z0-9@.:_/-]+/)
      .flatMap((word) => [word, ...word.split(/[^a-z0-9]+/)]),
  )
  for (const word of [...names, hostname()]) t.notOk(words.has(word.toLowerCase()), word)
  for (const word of [...secrets, ...others]) t.notOk(text.toLowerCase().includes(word.toLowerCase()), word)

  t.match(
    await cli(['report', '--output', file]),
    { code: 2, stderr: /EEXIST[\s\S]*A-NEW-FILE/ },
    'never over a file',
  )
  t.match((await cli(['report'])).stdout, '## Doctor')
})

t.test('a report is made without a daemon, too', async (t) => {
  const broker = await startShipped(t)
  broker.daemon().kill('SIGTERM')
  while (existsSync(broker.socket)) await new Promise((resolve) => setTimeout(resolve, 20))
  const report = await broker.cli(['report'])
  t.equal(report.code, 0)
  t.match(report.stdout, /prefect-authd .*not running/)
})
