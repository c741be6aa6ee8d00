/** `events` and `status --watch`: commands that run until they are interrupted. */
import type { ServerResponse } from 'node:http'
import t from 'tap'
import { describeEvent } from '../../src/cli/commands/events.js'
import { buildCli } from '../fixtures/built-cli.js'
import { openPseudoTerminal } from '../fixtures/pseudo-terminal.js'
import type { Outcome } from '../fixtures/run-to-end.js'
import { startScriptedDaemon } from '../fixtures/scripted-daemon.js'
import { sampleProfileStatus, sampleStatus } from '../fixtures/wire-samples.js'

const cli = await buildCli(t)

const at = '2026-11-20T18:45:52.000Z'
const events = [
  { id: 'e-1', at, type: 'credentials.changed', profile: 'cloud', facts: { generation: 8 } },
  { id: 'e-2', at, type: 'login.failed', profile: 'dev', facts: { reason: 'x\u001b[2J', list: ['a', 'b'] } },
]

function sendEvents(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (const event of events) response.write(`id: ${event.id}\ndata: ${JSON.stringify(event)}\n\n`)
  response.write('data: no json\n\ndata: {"of":"another version"}\n\n')
}

/** Runs, and sends Ctrl-C once `expected` has been printed. */
function runUntil(args: readonly string[], env: Record<string, string>, expected: string): Promise<Outcome> {
  return cli.run(args, {
    env,
    onStdout: (text, kill) => {
      if (text.length >= expected.length) kill('SIGINT')
    },
  })
}

t.test('events prints a line or a JSON document per event, until Ctrl-C', async (t) => {
  for (const [args, expected] of [
    [
      [],
      '2026-11-20 18:45:52Z  credentials.changed   cloud  generation=8\n2026-11-20 18:45:52Z  login.failed          dev  reason=x[2J  list=a,b\n',
    ],
    [['-p', 'dev'], '2026-11-20 18:45:52Z  login.failed          dev  reason=x[2J  list=a,b\n'],
    [['--json', '-p', 'cloud', '--after', 'e-0'], `${JSON.stringify(events[0])}\n`],
  ] as const) {
    const daemon = await startScriptedDaemon(t, { 'GET /v1/events': { handle: sendEvents } })
    const outcome = await runUntil(['events', ...args], daemon.env, expected)
    t.same(outcome, { code: 130, signal: null, stdout: expected, stderr: '' })
    t.equal(daemon.asked[0]?.headers['last-event-id'], args.length > 2 ? 'e-0' : undefined)
  }
})

t.test('status --watch redraws on every event, and ends with Ctrl-C', async (t) => {
  let owner = 'terry'
  let push = () => undefined as unknown
  let onSubscribed = () => undefined as unknown
  const subscribed = new Promise<void>((resolve) => {
    onSubscribed = resolve
  })
  const daemon = await startScriptedDaemon(t, {
    'GET /v1/status': () => {
      const profile = sampleProfileStatus({ owner: { kind: 'user', id: 'u', handle: owner } })
      return { json: sampleStatus({ profiles: [profile] }) }
    },
    'GET /v1/events': {
      handle: (response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write(': hello\n\n')
        push = () => response.write('id: e-1\ndata: {}\n\n')
        onSubscribed()
      },
    },
  })
  const command = `exec ${process.execPath} ${cli.program} status --watch`
  const terminal = openPseudoTerminal(t, { env: { ...daemon.env, NO_COLOR: '1' }, command })

  await terminal.waitFor('terry in prefect/terry')
  await terminal.waitFor('No problems')
  await subscribed
  owner = 'another'
  push()
  await terminal.waitFor('another in prefect/terry')
  terminal.type('\u0003')

  t.equal(await terminal.ended, 130)
})

t.test('both fail at once without a daemon', async (t) => {
  const env = { PATH: process.env.PATH ?? '', HOME: t.testdir(), PREFECT_AUTH_SOCKET: '/nowhere/authd.sock' }

  for (const args of [['events'], ['status', '--watch']]) t.match(await cli.run(args, { env }), { code: 4 })
})

t.test('prints events of a renewal as sentences, others as facts', async (t) => {
  const line = (type: string, facts: Record<string, string | number>) =>
    describeEvent({ id: 'a-1', at: '2026-01-01T00:00:00.000Z', type, profile: 'cloud', facts })
  t.match(line('renewal.started', { fingerprint: 'sha256:1' }), /renewing key sha256:1$/)
  t.match(line('renewal.done', { fingerprint: 'sha256:2' }), /new key sha256:2$/)
  t.match(
    line('renewal.failed', { message: 'no answer', code: 'prefect_unreachable', retry_in_s: 9 }),
    /no answer \(prefect_unreachable\); retry in 9 s, the old key stays in use$/,
  )
  t.match(line('renewal.warning', { message: 'it ends', hint: 'do this' }), /it ends; try: do this$/)
  t.match(line('key.stored', { origin: 'minted' }), /origin=minted$/)
})
