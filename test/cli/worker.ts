/** What `exec --proxy` says before it starts a worker whose jobs do not reach the proxy. */
import { createServer } from 'node:http'
import t from 'tap'
import { describeWorker, findWorkerCall } from '../../src/cli/fast/worker.js'
import { buildCli } from '../fixtures/built-cli.js'
import { portOf } from '../fixtures/proxy-under-test.js'
import { startScriptedDaemon } from '../fixtures/scripted-daemon.js'

const cli = await buildCli(t)
const TOKEN = `pab_${'t'.repeat(43)}`
/** Prefect's own pools with workers: `prefect work-pool create --help`, 3.9.1. */
const ELSEWHERE = [
  ...['docker', 'kubernetes', 'ecs', 'cloud-run', 'cloud-run-v2', 'vertex-ai', 'azure-container-instance'],
  'made-by-somebody',
]

t.test('reads the start of a worker however it is written', async (t) => {
  for (const [line, call] of [
    ['prefect worker start -p P', { pool: 'P' }],
    ['prefect worker start --pool=P --type=docker', { pool: 'P', type: 'docker' }],
    ['/opt/v/bin/prefect --profile x worker start --name w -t ecs --pool P', { pool: 'P', type: 'ecs' }],
    ['prefect --no-prompt worker start --pool P --limit 3', { pool: 'P' }],
    ['python -m prefect worker start --pool P', { pool: 'P' }],
    ['uv run --with x prefect worker start --pool P', { pool: 'P' }],
    ['prefect worker start', {}],
    ['prefect worker ls', undefined],
    ['prefect flow-run ls', undefined],
    ['prefect deployment run worker/start', undefined],
    ['myprefect worker start --pool P', undefined],
    ['worker start prefect', undefined],
    ['python flow.py', undefined],
  ] as const) {
    t.strictSame(findWorkerCall(line.split(' ')), call, line)
  }
})

t.test('says what helps where the jobs run elsewhere, and nothing where they run beside it', async (t) => {
  t.equal(describeWorker('process'), undefined)
  for (const type of ELSEWHERE) t.match(describeWorker(type), /key of their own.*docs\/workers\.md/, type)
  t.match(describeWorker('docker'), /network_mode to "host"/)
})

t.test('before the worker starts, in one line', async (t) => {
  const asked: (readonly [string | undefined, string | undefined])[] = []
  const proxy = createServer((request, response) => {
    asked.push([request.url, request.headers.authorization])
    const [, type] = /\/work_pools\/of%20(.+)$/.exec(request.url ?? '') ?? []
    if (type === undefined) response.writeHead(404).end('{"detail":"no such pool"}')
    else response.end(JSON.stringify({ name: `of ${type}`, type }))
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  t.teardown(() => proxy.close())
  const base = `http://127.0.0.1:${portOf(proxy)}/proxy/cloud/api`
  const env = { PREFECT_API_URL: `${base}/accounts/a/workspaces/w`, PREFECT_API_KEY: TOKEN }
  const daemon = await startScriptedDaemon(t, {
    'POST /v1/env': { json: { profile: 'cloud', env } },
    'GET /v1/credentials': { json: { profile: 'cloud', kind: 'cloud', env, because: '' } },
  })
  const start = (...args: string[]) =>
    cli.run(['exec', ...args], { env: { ...daemon.env, PATH: `${t.testdirName}:${process.env.PATH}` } })
  t.testdir({ prefect: '#!/bin/sh\necho started\n' })
  const { chmodSync } = await import('node:fs')
  chmodSync(`${t.testdirName}/prefect`, 0o755)

  for (const type of ELSEWHERE) {
    const outcome = await start('--proxy', '--', 'prefect', 'worker', 'start', '--pool', `of ${type}`)
    t.match(outcome, { code: 0, stdout: 'started\n' }, type)
    t.equal(outcome.stderr, `prefect-auth: ${describeWorker(type) ?? ''}\n`)
  }
  t.strictSame(new Set(asked.map(([, authorization]) => authorization)), new Set([`Bearer ${TOKEN}`]))
  const before = asked.length
  t.match(await start('--proxy', '--', 'prefect', 'worker', 'start', '-p', 'P', '-t', 'docker'), {
    stderr: /containers/,
  })
  t.equal(asked.length, before, 'the type that is named needs no question')

  for (const [args, why] of [
    [['--proxy', '--', 'prefect', 'worker', 'start', '--pool', 'of process'], 'beside it'],
    [['--proxy', '--', 'prefect', 'worker', 'start', '--pool', 'unknown'], 'the worker will say so itself'],
    [['--proxy', '--', 'prefect', 'version'], 'no worker'],
    [['--', 'prefect', 'worker', 'start', '--pool', 'of docker'], 'not through the proxy'],
  ] as const) {
    t.match(await start(...args), { code: 0, stdout: 'started\n', stderr: '' }, why)
  }
})
