/** GET /v1/env over real sockets, evaluated as people will. */
import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { ask, json, startApi } from '../fixtures/api-under-test.js'
import { AUTH_STRING, CLOUD_KEY } from '../fixtures/fake-broker.js'

const run = promisify(execFile)

t.test('eval "$(curl … /v1/env)" sets what there is and removes what there is not', async (t) => {
  const api = await startApi(t)
  const socket = 'socketPath' in api.socket ? api.socket.socketPath : ''
  const script = (path: string) =>
    `export PREFECT_API_KEY=old PREFECT_CLOUD_UI_URL=old
     eval "$(curl -qsS --unix-socket '${socket}' 'http://authd${path}')"; echo "outcome $?"
     printf '%s|%s|%s|%s' "$PREFECT_API_URL" "$PREFECT_API_KEY" "$PREFECT_API_AUTH_STRING" "$PREFECT_CLOUD_UI_URL"`
  const cloud = await run('sh', ['-c', script('/v1/env')])
  t.match(cloud.stdout, /^outcome 0\nhttps:\/\/api.prefect.cloud.*\|pnu_[^|]*\|\|$/)
  const server = await run('sh', ['-c', script('/v1/env?profile=server')])
  t.equal(server.stdout, `outcome 0\nhttp://me:hush@localhost:4200/api||${AUTH_STRING}|`)
  api.broker.refuse(
    'cloud',
    new BrokerError('login_required', 'no key; $(touch owned)', { hint: '`touch owned`' }),
  )
  const refused = await run('sh', ['-c', script('/v1/env')])
  t.match(refused.stdout, /^outcome 1\n/)
  t.equal(refused.stderr, 'prefect-auth: login_required\n')
})

t.test('renders the same variables in every format', async (t) => {
  const api = await startApi(t)
  const cases = [
    ['sh', `export PREFECT_API_KEY='${CLOUD_KEY}';`, 'unset PREFECT_API_AUTH_STRING;', 'text/plain'],
    ['fish', `set -gx PREFECT_API_KEY '${CLOUD_KEY}';`, 'set -e PREFECT_API_AUTH_STRING;', 'text/plain'],
    [
      'powershell',
      `$Env:PREFECT_API_KEY = '${CLOUD_KEY}'`,
      'Remove-Item Env:PREFECT_API_AUTH_STRING -ErrorAction SilentlyContinue',
      'text/plain',
    ],
    ['dotenv', `PREFECT_API_KEY=${CLOUD_KEY}`, '', 'text/plain'],
    ['json', `"PREFECT_API_KEY":"${CLOUD_KEY}"`, '', 'application/json'],
  ] as const
  for (const [format, set, removed, type] of cases) {
    const answer = await ask(api.socket, `/v1/env?format=${format}`)
    t.equal(answer.status, 200, format)
    t.ok(answer.text.includes(set) && answer.text.includes(removed), answer.text)
    t.match(answer.headers['content-type'], type)
    t.equal(answer.headers['cache-control'], 'no-store')
  }
  t.equal((await ask(api.socket, '/v1/env')).text, (await ask(api.socket, '/v1/env?format=sh')).text)
  t.match(api.broker.audit[0], {
    action: 'env',
    outcome: 'given',
    profile: 'cloud',
    fingerprint: 'sha256:0123456789ab',
  })
  t.equal(api.broker.handedOut.length, 7)
})

const FAIL = (code: string) => `echo 'prefect-auth: ${code}' >&2; false\n`

t.test('sends a shell one fixed line, whatever fails', async (t) => {
  const api = await startApi(t)
  const inspect = await api.broker.token('inspect')
  const evil = '$(touch owned) `touch owned`; touch owned'
  api.broker.refuse('cloud', new BrokerError('prefect_failed', evil, { hint: evil }))
  const { credentials } = api.broker.deps
  const { serve } = credentials
  Object.assign(credentials, {
    serve: (name?: string) => {
      if (name === 'broken') throw new Error(evil)
      return serve(name)
    },
  })
  const cases = [
    [api.socket, '/v1/env', {}, 502, FAIL('prefect_failed')],
    [api.socket, '/v1/env?format=fish', {}, 502, FAIL('prefect_failed')],
    [api.socket, '/v1/env?format=dotenv', {}, 502, FAIL('prefect_failed')],
    [api.socket, '/v1/env?format=powershell', {}, 502, "throw 'prefect-auth: prefect_failed'\n"],
    [api.socket, '/v1/env?profile=nobody', {}, 404, FAIL('profile_not_found')],
    [api.socket, '/v1/env?profile=broken', {}, 500, FAIL('internal')],
    [api.socket, '/v1/env?format=$(touch%20owned)', {}, 400, FAIL('bad_request')],
    [api.socket, '/v1/env?format=sh&format=fish', {}, 400, FAIL('bad_request')],
    [api.socket, '/v1/env?$(touch%20owned)=1', {}, 400, FAIL('bad_request')],
    [api.socket, '/v1/%65nv', {}, 502, FAIL('prefect_failed')],
    [api.socket, '/v1/env', { headers: { origin: evil } }, 403, FAIL('browser_refused')],
    [api.socket, '/v1/env', { headers: { host: 'evil.example' } }, 421, FAIL('host_refused')],
    [api.tcp, '/v1/env', {}, 401, FAIL('token_required')],
    [api.tcp, '/v1/env', { token: 'nonsense' }, 401, FAIL('token_invalid')],
    [api.tcp, '/v1/env', { token: inspect }, 403, FAIL('power_missing')],
  ] as const
  for (const [place, path, asked, status, text] of cases) {
    const answer = await ask(place, path, asked)
    t.same([answer.status, answer.text], [status, text], `${path} ${JSON.stringify(asked)}`)
    t.match(answer.headers['content-type'], 'text/plain')
    t.equal(spawnSync('sh', ['-c', `touch() { exit 99; }; eval "$1"`, 'sh', answer.text]).status !== 99, true)
  }
})

t.test('sends problem details for a failure in json', async (t) => {
  const api = await startApi(t)
  const answer = await ask(api.socket, '/v1/env?format=json&profile=nobody')
  t.equal(answer.status, 404)
  t.match(answer.headers['content-type'], 'application/problem+json')
  t.match(json(answer), { code: 'profile_not_found' })
})
