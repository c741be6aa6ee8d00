/** The flags that limit a token: parsed, sent, refused, warned about; and what `token show` and `token policies` print. */
import t from 'tap'
import { describeMismatch, NEEDS } from '../../src/cli/fast/limits.js'
import { parseEnvArguments, parseExecArguments } from '../../src/cli/fast/options.js'
import { effectOf, POLICIES } from '../../src/policy/policy.js'
import { POLICY_NAMES } from '../../src/wire/kinds.js'
import { buildCli } from '../fixtures/built-cli.js'
import { problem, type Script, startScriptedDaemon } from '../fixtures/scripted-daemon.js'

t.setTimeout(180_000)
const cli = await buildCli(t)
const RUN = 'POST /deployments/{id}/create_flow_run'
const LOGS = 'POST /logs/'

t.test('reads the limits of a job', async (t) => {
  const rows = [
    [[], {}],
    [['--may', 'read'], { may: 'read' }],
    [['--may=read', '--may', 'run'], { may: 'run' }],
    [['--may', 'read', '--allow', RUN, `--allow=${LOGS}`], { may: 'read', allow: [RUN, LOGS] }],
    [['--deny', RUN, '--deny', LOGS], { deny: [RUN, LOGS] }],
    [['--ask', 'write'], { ask: 'write' }],
    [['--may', 'run', '--ask=all', '--deny', LOGS], { may: 'run', ask: 'all', deny: [LOGS] }],
  ] as const
  for (const [flags, limits] of rows) {
    for (const args of [
      ['--proxy', ...flags],
      [...flags, '--proxy'],
    ]) {
      const [env, exec] = [parseEnvArguments(args), parseExecArguments([...args, '--', 'a', '--may', 'x'])]
      t.strictSame(env.kind === 'env' && env.limits, limits, args.join(' '))
      t.strictSame(exec.kind === 'exec' && exec.limits, limits, args.join(' '))
    }
  }
  t.match(parseExecArguments(['--proxy', 'a', '--may', 'read']), { limits: {}, args: ['--may', 'read'] })
})

t.test('refuses limits without the proxy, and limits that cannot be meant', async (t) => {
  const rows = [
    [['--may', 'read'], /^--may: without --proxy there is no token to limit, .*; add --proxy$/],
    [['--ask', 'write', '--deny', LOGS], /^--deny, --ask: without --proxy/],
    [['--proxy', '--may='], /--may needs a value/],
    [['--proxy', '--may', '--', 'true'], /--may needs a value/],
    [['--proxy', '--ask', 'never'], /^--ask must be one of write, all$/],
    [['--proxy', '--allow', LOGS], /^--allow adds to a policy/],
    [['--proxy', '--may', 'read', '--allow', 'POST'], /in quotes: --allow 'POST \/flows\/filter'$/],
    [['--proxy', '--deny', 'get'], /in quotes/],
  ] as const
  for (const [args, message] of rows) {
    t.match(parseEnvArguments(args), { kind: 'usage', message }, args.join(' '))
    t.match(parseExecArguments([...args, '--', 'true']), { kind: 'usage', message }, args.join(' '))
  }
})

t.test('knows what a command obviously needs, and only that', async (t) => {
  const rows: readonly (readonly [string, readonly string[]])[] = [
    ['prefect worker start --pool p', ['read', 'run']],
    ['/venv/bin/prefect worker start', ['read', 'run']],
    ['prefect --profile prod worker start', ['read', 'run']],
    ['prefect -p prod worker start', ['read', 'run']],
    ['prefect --no-prompt worker start', ['read', 'run']],
    ['uv run prefect worker start', ['read', 'run']],
    ['python -m prefect worker start', ['read', 'run']],
    ['prefect agent start -q x', ['read', 'run']],
    ['prefect deploy --all', ['read', 'run', 'work']],
    ['prefect flow serve flow.py:f', ['read', 'run', 'work']],
    ['prefect deployment run a/b', ['read']],
    ['prefect deployment ls', []],
    ['prefect worker', []],
    ['prefect flow-run ls', []],
    ['python flow.py', []],
    ['echo worker start', []],
    ['prefect', []],
  ]
  for (const [command, warned] of rows) {
    for (const may of POLICY_NAMES) {
      const said = describeMismatch(command.split(' '), { may })
      t.equal(said !== undefined, warned.includes(may), `${command} under ${may}: ${said}`)
      if (said !== undefined)
        t.match(said, /^the policy '\w+' refuses what prefect [a-z ]+ needs, .*; --may \w+ allows it$/)
    }
    t.equal(describeMismatch(command.split(' '), {}), undefined, 'without a policy')
    t.equal(describeMismatch(command.split(' '), { may: 'read', allow: [RUN] }), undefined)
  }
})

t.test('what it knows is what the policies say', async (t) => {
  const asked: Readonly<Record<string, readonly string[]>> = {
    'worker start': ['POST /work_pools/{name}/get_scheduled_flow_runs', LOGS],
    'agent start': ['POST /work_queues/{id}/get_runs'],
    deploy: ['POST /deployments/'],
    'flow serve': ['POST /deployments/'],
    'deployment run': [RUN],
  }
  for (const { words, policies } of NEEDS) {
    const operations = asked[words.join(' ')] ?? []
    t.ok(operations.length > 0, words.join(' '))
    for (const operation of operations) {
      const effect = effectOf(operation)
      if (effect === undefined) t.fail(`${operation} is not in the table`)
      else
        t.strictSame(
          POLICY_NAMES.filter(
            (name) =>
              POLICIES[name].effects.includes(effect) || POLICIES[name].operations.includes(operation),
          ),
          policies,
          `${words.join(' ')}: ${operation}`,
        )
    }
  }
})

const TOKEN = `pab_${'t'.repeat(43)}`
const job = { profile: 'cloud', env: { PREFECT_API_KEY: TOKEN, PREFECT_API_URL: 'http://127.0.0.1:1/x' } }
const dashboard = {
  ...{ id: 't1', name: 'dash\u001b[2Jboard', power: 'proxy', profiles: ['cloud'], may: 'read', allow: [RUN] },
  ...{ created_at: '2026-11-20T10:00:00Z', expires_at: '2026-11-20T18:00:00Z', ask: 'write' },
}
const refused = [
  [LOGS, 3, 'policy', 'works', 'work'],
  ['POST /new_things', 1, 'policy', undefined, 'all'],
  ['GET /events/in', 2, 'policy', 'works', 'work'],
  ['POST /bots', 1, 'proxy', undefined, undefined],
].map(([operation, count, by, effect, allowed_by]) => ({
  ...{ operation, count, by, last_at: '2026-11-20T11:00:00Z', effect, allowed_by },
}))
const shown = {
  ...dashboard,
  deny: ['GET /events/in'],
  sentence: 'reads everything',
  operations: ['GET /flows/{id}', RUN],
  refused,
}
const policies = {
  policies: [
    {
      name: 'read',
      sentence: 'reads',
      effects: ['reads'],
      shows_secrets: false,
      operations: ['GET /flows/{id}'],
    },
    {
      name: 'all',
      sentence: 'everything',
      effects: [],
      shows_secrets: true,
      operations: ['GET /flows/{id}', LOGS],
    },
  ],
  operations: [
    { operation: 'GET /flows/{id}', effect: 'reads' },
    { operation: LOGS, effect: 'works' },
  ],
}
const unlimited = { ...dashboard, id: 't2', name: 'b', may: undefined, allow: undefined, ask: undefined }
const script: Script = {
  'POST /v1/env': ({ body }) => {
    const text = JSON.stringify(body)
    return text.includes('"json"') ? { json: job } : { text: `export PREFECT_API_KEY='${TOKEN}';\n` }
  },
  'POST /v1/tokens': { status: 201, json: { ...dashboard, token: 'pab_made' } },
  'GET /v1/tokens': { json: { tokens: [dashboard, unlimited, { ...unlimited, id: 't3', power: 'use' }] } },
  'GET /v1/tokens/dash board': { json: shown },
  'GET /v1/tokens/b': { json: { ...unlimited, sentence: 'everything' } },
  'GET /v1/policies': { json: policies },
}

const budget = { writes_per_hour: 30, requests_per_minute: 120 }
const limits = { may: 'read', allow: [RUN], deny: [LOGS], ask: 'all', ...budget }
const FLAGS = [
  ...['--may', 'read', '--allow', RUN, '--deny', LOGS, '--ask', 'all'],
  ...['--writes-per-hour', '30', '--requests-per-minute', '120'],
]

t.test('sends them with every command that makes a token', async (t) => {
  const daemon = await startScriptedDaemon(t, script)
  for (const args of [
    ['exec', '--proxy', ...FLAGS, '--', 'true'],
    ['env', '--proxy', ...FLAGS],
    ['-p', 'cloud', 'env', '--proxy', ...FLAGS],
    ['token', 'create', '--name', 'dash board', ...FLAGS],
  ]) {
    const outcome = await cli.run(args, { env: daemon.env })
    t.match(outcome, { code: 0 }, outcome.stderr)
    t.match(daemon.asked.at(-1)?.body, limits, args.join(' '))
  }
  for (const args of [
    ['exec', '--proxy', '--', 'true'],
    ['env', '--proxy'],
    ['token', 'create', '--name', 'x'],
  ]) {
    await cli.run(args, { env: daemon.env })
    const sent = Object.keys(Object(daemon.asked.at(-1)?.body))
    t.notOk(
      sent.some((name) => Object.hasOwn(limits, name)),
      args.join(' '),
    )
  }
})

t.test('warns before a command starts that cannot work, and starts it', async (t) => {
  const daemon = await startScriptedDaemon(t, script)
  const dir = t.testdir({ prefect: '' })
  const { chmodSync, writeFileSync } = await import('node:fs')
  writeFileSync(`${dir}/prefect`, '#!/bin/sh\necho started "$@"\n')
  chmodSync(`${dir}/prefect`, 0o755)
  const env = { ...daemon.env, PATH: `${dir}:${daemon.env.PATH}` }
  const run = (may: string) =>
    cli.run(['exec', '--proxy', '--may', may, '--', 'prefect', 'worker', 'start'], { env })
  t.match(await run('read'), {
    code: 0,
    stdout: 'started worker start\n',
    stderr:
      /^prefect-auth: the policy 'read' refuses what prefect worker start needs, which will fail with 403; --may work allows it$/m,
  })
  t.match(await run('work'), { code: 0, stdout: 'started worker start\n', stderr: '' })
})

t.test('wrong limits are wrong usage, whoever notices', async (t) => {
  const unknown = problem(
    'policy_unknown',
    'invalid',
    400,
    "there is no policy 'red'",
    'prefect-auth token policies',
  )
  const odd = problem('operation_unknown', 'invalid', 400, "there is no operation 'GET /x'")
  const wrong = { ...script, 'POST /v1/env': unknown, 'POST /v1/tokens': odd }
  const daemon = await startScriptedDaemon(t, wrong)
  const rows = [
    [['env', '--may', 'read'], 2, /--may: without --proxy .*add --proxy/],
    [['exec', '--may', 'read', '--', 'true'], 125, /--may: without --proxy/],
    [
      ['env', '--proxy', '--may', 'red'],
      2,
      /no policy 'red' \(policy_unknown\)\ntry: prefect-auth token policies/,
    ],
    [['exec', '--proxy', '--may', 'red', '--', 'true'], 125, /no policy 'red'/],
    [['token', 'create', '--name', 'x', '--may', 'read', '--allow', 'GET /x'], 2, /no operation/],
    [['token', 'create', '--name', 'x', '--allow', 'GET /x'], 2, /--allow adds to a policy/],
    [['token', 'create', '--name', 'x', '--may', 'read', '--deny', 'GET'], 2, /in quotes/],
    [['token', 'create', '--name', 'x', '--ask', 'never'], 2, /write, all/],
  ] as const
  for (const [args, code, stderr] of rows)
    t.match(await cli.run(args, { env: daemon.env }), { code, stderr }, args.join(' '))
  const evaluated = await cli.run(['env', '--proxy', '--may', 'red'], { env: daemon.env })
  t.equal(evaluated.stdout, "echo 'prefect-auth: policy_unknown' >&2; false\n", 'and it fails under eval')
})

t.test('shows what a token may do, what it was refused, and the flag that allows it', async (t) => {
  const daemon = await startScriptedDaemon(t, script)
  const run = async (...args: string[]) => {
    const outcome = await cli.run(['token', ...args], { env: daemon.env })
    t.match(outcome, { code: 0, stderr: '' }, args.join(' '))
    t.notMatch(outcome.stdout, '\u001b')
    return outcome.stdout
  }
  t.equal(
    await run('show', 'dash board'),
    `token    t1 (dash[2Jboard)
power    proxy, profiles cloud, until 2026-11-20 18:00:00 UTC
policy   read: reads everything
         2 operations; --operations lists them
allowed  ${RUN}
denied   GET /events/in
asks     before it changes anything

REFUSED           HOW OFTEN  LAST (UTC)           A NEW TOKEN MAY WITH
POST /logs/       3 times    2026-11-20 11:00:00  --allow 'POST /logs/', or --may work
POST /new_things  1 time     2026-11-20 11:00:00  --may all
GET /events/in    2 times    2026-11-20 11:00:00  no --deny for it
POST /bots        1 time     2026-11-20 11:00:00  nothing: the proxy forwards it for nobody
`,
  )
  t.equal(await run('show', 'dash board', '--operations'), `GET /flows/{id}\n${RUN}\n`)
  t.match(await run('show', 'b'), /^policy {3}all: everything\nrefused {2}nothing\n$/m)
  t.match(JSON.parse(await run('show', 'dash board', '--json')), {
    may: 'read',
    refused: [{ operation: LOGS }],
  })
  const list = await run('ls')
  t.match(list, /^t1 .* proxy +read \+1, asks write +cloud/m)
  t.match(list, /^t2 .* proxy +all +cloud/m)
  t.match(list, /^t3 .* use +- +cloud/m)
  t.equal(await run('policies'), 'read    reads (1 operation)\nall     everything (2 operations)\n')
  t.match(await run('policies', '--operations'), /^POST \/logs\/ +works +all$/m)
  t.match(await run('policies', '--operations'), /^GET \/flows\/\{id\} +reads +read, all$/m)
  t.equal(await run('policies', '--names'), 'read\nall\n')
  t.equal(await run('policies', '--operations', '--names'), `GET /flows/{id}\n${LOGS}\n`)
  t.match(JSON.parse(await run('policies', '--json')), policies)
})
