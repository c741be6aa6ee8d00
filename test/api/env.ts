/** GET /v1/env over real sockets, evaluated as people will. */
import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { ask, json, startApi } from '../fixtures/api-under-test.js'
import { AUTH_STRING, CLOUD_KEY } from '../fixtures/fake-broker.js'

const run = promisify(execFile)

t.test('eval "$(curl … /v1/env)" sets what there is, and empties or removes what there is not', async (t) => {
  const api = await startApi(t)
  const socket = 'socketPath' in api.socket ? api.socket.socketPath : ''
  const script = (path: string) =>
    `export PREFECT_API_KEY=old PREFECT_CLOUD_UI_URL=old prefect_api_key=small PREFECT_API='{}'
     eval "$(curl -qsS --unix-socket '${socket}' 'http://authd${path}')"; echo "outcome $?"
     printf '%s|%s|%s|%s' "$PREFECT_API_URL" "\${PREFECT_API_KEY-unset}" "\${PREFECT_API_AUTH_STRING-unset}" "$PREFECT_CLOUD_UI_URL"
     printf '|%s|%s|%s' "\${PREFECT_PROFILE-unset}" "\${prefect_api_key-unset}" "\${PREFECT_API-unset}"`
  const cloud = await run('sh', ['-c', script('/v1/env')])
  t.match(cloud.stdout, /^outcome 0\nhttps:\/\/api.prefect.cloud.*\|pnu_[^|]*\|\|\|unset\|unset\|unset$/)
  const server = await run('sh', ['-c', script('/v1/env?profile=server')])
  t.equal(server.stdout, `outcome 0\nhttp://me:hush@localhost:4200/api||${AUTH_STRING}||server|unset|unset`)
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
    ['sh', `export PREFECT_API_KEY='${CLOUD_KEY}';`, "export PREFECT_API_AUTH_STRING='';", 'text/plain'],
    ['fish', `set -gx PREFECT_API_KEY '${CLOUD_KEY}';`, "set -gx PREFECT_API_AUTH_STRING '';", 'text/plain'],
    [
      'powershell',
      `$Env:PREFECT_API_KEY = '${CLOUD_KEY}'`,
      "$Env:PREFECT_API_AUTH_STRING = ''",
      'text/plain',
    ],
    ['dotenv', `PREFECT_API_KEY=${CLOUD_KEY}`, 'PREFECT_API_AUTH_STRING=\n', 'text/plain'],
    ['json', `"PREFECT_API_KEY":"${CLOUD_KEY}"`, '"PREFECT_API_AUTH_STRING":""', 'application/json'],
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

t.test('a profile that leads nowhere is no answer, unless that is wanted', async (t) => {
  const api = await startApi(t)
  t.equal((await ask(api.socket, '/v1/env?profile=empty')).text, FAIL('login_required'))
  const none = await ask(api.socket, '/v1/env?profile=empty&allow_none=true&format=json')
  t.same(json(none), {
    PREFECT_API_KEY: '',
    PREFECT_API_AUTH_STRING: '',
    PREFECT_CLOUD_API_URL: 'https://api.prefect.cloud/api',
  })
  t.equal(api.broker.handedOut.length, 0)
  for (const code of ['login_required', 'profiles_file_invalid', 'vault_locked'] as const) {
    api.broker.refuse('cloud', new BrokerError(code, 'no pair'))
    const { status } = await ask(api.socket, '/v1/env?allow_none=true')
    t.equal(status, code === 'vault_locked' ? 503 : 200, code)
  }
})

t.test('a token for a container chooses no profile, and neither does another file', async (t) => {
  const api = await startApi(t)
  const token = await api.broker.token('use')
  t.notMatch((await ask(api.tcp, '/v1/env?profile=server', { token })).text, 'PREFECT_PROFILE')
  const headers = { 'prefect-auth-profiles-file': '/home/other/profiles.toml' }
  t.notMatch((await ask(api.socket, '/v1/env?profile=server', { headers })).text, 'PREFECT_PROFILE')
  const answer = json(await ask(api.socket, '/v1/credentials?profile=server', { headers }))
  t.equal(answer.in_file, undefined)
  const chosen = { 'prefect-auth-profiles-file': '/home/other/profiles.toml PREFECT_HOME' }
  for (const path of ['/v1/env?format=json', '/v1/credentials']) {
    const refused = await ask(api.socket, path, { headers: chosen })
    t.match(json(refused), {
      status: 409,
      code: 'profiles_file_mismatch',
      detail: /PREFECT_HOME.*\/home\/other/,
    })
  }
  for (const nonsense of ['', 'relative', '/%zz', '/a b c']) {
    const { status } = await ask(api.socket, '/v1/env', {
      headers: { 'prefect-auth-profiles-file': nonsense },
    })
    t.ok(status === 200 || nonsense === '/a b c', nonsense)
  }
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
