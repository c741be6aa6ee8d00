/** `asks`: questions listed, shown, answered, and watched. */
import type { ServerResponse } from 'node:http'
import t from 'tap'
import type { AskDetail, AskView } from '../../src/wire/asks.js'
import { buildCli } from '../fixtures/built-cli.js'
import { openPseudoTerminal } from '../fixtures/pseudo-terminal.js'
import { problem, type Script, startScriptedDaemon } from '../fixtures/scripted-daemon.js'

const cli = await buildCli(t)

const view: AskView = {
  id: 412,
  profile: 'cloud',
  token: { id: 't1', name: 'agent' },
  sentence: 'start deployment Testing/nightly in prefect/production',
  operation: 'POST /deployments/{id}/create_flow_run',
  effect: 'runs',
  method: 'POST',
  path: '/deployments/x/create_flow_run',
  who: ['prefect[2] < bash[1]'],
  opened_at: '2026-11-20T18:45:52.000Z',
  last_asked_at: '2026-11-20T18:46:02.000Z',
  digest: 'd1',
  body_bytes: 24,
}
const detail: AskDetail = {
  ...view,
  gives_up: true,
  body: '{"parameters":{"x":"\\u001b[2J"}}',
  body_cut: true,
}
const answered = { ...view, answer: 'yes' }

const script: Script = {
  'GET /v1/asks': { json: { asks: [view], allowed: [] } },
  'GET /v1/asks/412': { json: detail },
  'POST /v1/asks/412': ({ body }) => ({
    json: { ...answered, answer: JSON.stringify(body).includes('true') ? 'yes' : 'no' },
  }),
  'POST /v1/asks/7': problem(
    'ask_not_found',
    'not_found',
    404,
    'nobody is waiting for an answer to question 7',
  ),
  'POST /v1/asks/8': problem(
    'ask_answer_refused',
    'denied',
    403,
    'the program that asks uses this terminal too',
  ),
}

const ROWS: readonly (readonly [args: readonly string[], code: number, text: RegExp, body?: unknown])[] = [
  [
    [],
    0,
    /^ID {3}WAITS .*\n412 .* agent {2}start deployment Testing\/nightly in prefect\/production {2}prefect\[2\]/,
  ],
  [['--names'], 0, /^412\n$/],
  [['--json'], 0, /"sentence": "start deployment/],
  [
    ['show', '412'],
    0,
    /older than 3\.3\.1[\s\S]*24 bytes, of which this is the beginning:\n\{"parameters":\{"x":"\\u001b\[2J"\}\}\n$|"x": "\\u001b\[2J"/,
  ],
  [['show', '412', '--json'], 0, /"body_cut": true/],
  [['yes', '412'], 0, /^Allowed \(412\): start deployment /, { accept: true, for: 'once' }],
  [['yes', '--hour', '412'], 0, /^Allowed/, { accept: true, for: 'hour' }],
  [['yes', '412', '--json'], 0, /"answer": "yes"/, { accept: true, for: 'once' }],
  [['no', '412'], 0, /^Refused \(412\): start deployment /, { accept: false }],
  [['yes', '7'], 1, /nobody is waiting/],
  [['yes', '8'], 1, /uses this terminal too/],
  [['yes', 'x'], 2, /'x' is not the number of a question/],
  [['maybe'], 2, /asks --help|unknown command|too many arguments/],
]
for (const [args, code, text, body] of ROWS) {
  t.test(`asks ${args.join(' ')}`, async (t) => {
    const daemon = await startScriptedDaemon(t, script)
    const outcome = await cli.run(['asks', ...args], { env: daemon.env })
    t.equal(outcome.code, code, outcome.stderr)
    t.match(outcome.stdout + outcome.stderr, text)
    t.notOk(outcome.stdout.includes('\u001b'), 'nothing steers the terminal')
    if (body !== undefined) t.same(daemon.asked.at(-1)?.body, body)
  })
}

t.test('without questions it says so, and what is allowed', async (t) => {
  const allowed = [{ token: view.token, profile: 'cloud', operation: view.operation, until: view.opened_at }]
  const daemon = await startScriptedDaemon(t, { 'GET /v1/asks': { json: { asks: [], allowed } } })
  const { stdout } = await cli.run(['asks'], { env: daemon.env })
  t.match(
    stdout,
    /^No request waits for your yes\nAllowed until 2026-11-20 18:45:52 UTC: POST .* for token agent, profile cloud\n$/,
  )
})

/** One question, which closes once it is answered; events say so. */
function openDesk() {
  let isOpen = true
  let stream: ServerResponse | undefined
  const answers: unknown[] = []
  const desk: Script = {
    'GET /v1/asks': () => ({ json: { asks: isOpen ? [view] : [], allowed: [] } }),
    'GET /v1/events': {
      handle(response) {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write('retry: 2000\n\n')
        stream = response
      },
    },
    'POST /v1/asks/412': ({ body }) => {
      answers.push(body)
      close()
      return { json: answered }
    },
  }
  const close = () => {
    isOpen = false
    const event = { id: 'e-1', at: view.opened_at, type: 'ask.closed', facts: { id: 412 } }
    stream?.write(`id: e-1\ndata: ${JSON.stringify(event)}\n\n`)
  }
  return { desk, answers, close }
}

for (const [args, opened, closed] of [
  [[], /^412 {2}start deployment .* {2}\(token agent; prefect\[2\] < bash\[1\]\)\n/, /412 {2}closed\n/],
  [['--json'], /^\{"state":"opened","id":412,/, /\n\{"state":"closed","id":412,/],
] as const) {
  t.test(
    `asks --watch ${args.join(' ')} prints a line when a question opens and when it closes`,
    async (t) => {
      const { desk, close } = openDesk()
      const daemon = await startScriptedDaemon(t, desk)
      const outcome = await cli.run(['asks', '--watch', ...args], {
        env: daemon.env,
        onStdout(text, kill) {
          if (opened.test(text)) close()
          if (closed.test(text)) kill('SIGINT')
        },
      })
      t.equal(outcome.code, 130)
      t.notMatch(outcome.stderr, /lost/)
      t.match(outcome.stdout, opened)
      t.match(outcome.stdout, closed)
    },
  )
}

t.test('a refusal while questions are watched ends it with the reason', async (t) => {
  const { desk } = openDesk()
  let looks = 0
  const refusing: Script = {
    ...desk,
    'GET /v1/asks': () => {
      looks += 1
      return looks === 1
        ? { json: { asks: [], allowed: [] } }
        : problem('disk_failed', 'unavailable', 503, 'the state cannot be written')
    },
  }
  const daemon = await startScriptedDaemon(t, refusing)
  const outcome = await cli.run(['asks', '--watch'], { env: daemon.env })
  t.equal(outcome.code, 1)
  t.match(outcome.stderr, /^prefect-auth: the state cannot be written \(disk_failed\)$/m)
  t.notMatch(outcome.stderr, / at .*:\d+/)
})

t.test('at a terminal a key answers the question that is shown', async (t) => {
  const { desk, answers } = openDesk()
  const daemon = await startScriptedDaemon(t, desk)
  const command = `'${process.execPath}' '${cli.program}' asks --watch`
  const terminal = openPseudoTerminal(t, { env: daemon.env, command })
  await terminal.waitFor(/Question 412: start deployment .*y yes/)
  // What is typed at once may be meant for something else, and does not count.
  terminal.type('y')
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  // A paste is no answer.
  terminal.type('yy')
  await new Promise((resolve) => setTimeout(resolve, 200))
  terminal.type('y')
  await terminal.waitFor(/Allowed \(412\)/)
  await terminal.waitFor(/412 {2}closed/)
  t.same(answers, [{ accept: true, digest: 'd1' }])
  terminal.type('\u0003')
  t.equal(await terminal.ended, 130)
})
