/** `POST /v1/env`: what a job gets, and its token. */

import { spawnSync } from 'node:child_process'
import t from 'tap'
import { buildApp } from '../../src/api/app.js'
import { BrokerError } from '../../src/base/errors.js'
import { planProxyEnv } from '../../src/proxy/env.js'
import { defined } from '../../src/std/defined.js'
import { createTokens } from '../../src/tokens/issue.js'
import type { TokenList } from '../../src/tokens/records.js'
import { ask, json, startApi } from '../fixtures/api-under-test.js'
import { WORKSPACE } from '../fixtures/fake-broker.js'
import { memoryDocument } from '../fixtures/memory-parts.js'

const job = { mode: 'proxy', name: 'prefect worker start' }

async function withListener(t: Parameters<typeof startApi>[0], state: 'listening' | 'off') {
  const api = await startApi(t)
  const { inspection } = api.broker.deps
  const status = inspection.status()
  Object.assign(inspection, {
    status: () => ({ ...status, listeners: [{ door: 'tcp', address: 'http://127.0.0.1:4280', state }] }),
  })
  return api
}

t.test("gives a Cloud job the proxy's address, the real UI and a token of its own", async (t) => {
  const api = await withListener(t, 'listening')
  const answer = json(
    await ask(api.socket, '/v1/env', {
      method: 'POST',
      body: { ...job, format: 'json', no_proxy: 'a.b,localhost' },
    }),
  )
  const base = 'http://127.0.0.1:4280/proxy/cloud/api'
  t.match(answer, {
    profile: 'cloud',
    env: {
      PREFECT_CLOUD_API_URL: base,
      PREFECT_API_URL: `${base}/accounts/${WORKSPACE.accountId}/workspaces/${WORKSPACE.workspaceId}`,
      PREFECT_CLOUD_UI_URL: 'https://app.prefect.cloud',
      PREFECT_API_KEY: /^pab_[\w-]{43}$/,
      PREFECT_SILENCE_API_URL_MISCONFIGURATION: 'true',
      NO_PROXY: 'a.b,localhost,127.0.0.1',
      no_proxy: 'a.b,localhost,127.0.0.1',
    },
  })
  t.notMatch(JSON.stringify(answer), 'pnu_')
  t.match(json(await ask(api.socket, '/v1/tokens')), {
    tokens: [{ name: 'prefect worker start', power: 'proxy', profiles: ['cloud'] }],
  })
  t.match(api.broker.audit.at(-1), { action: 'token_created', profile: 'cloud', tokenName: job.name })
  t.same(api.broker.handedOut, [], 'the key stays here')
})

t.test('gives every process of an environment the same token, and the audit a line for each', async (t) => {
  const api = await withListener(t, 'listening')
  const body = { ...job, format: 'json', name: 'python /venv', environment: '/venv' }
  const get = async () => json(await ask(api.socket, '/v1/env', { method: 'POST', body }))
  const first = await get()
  t.same(await get(), first)
  t.match(
    api.broker.audit.map(({ action, tokenName }) => ({ action, tokenName })),
    [
      { action: 'token_created', tokenName: body.name },
      { action: 'env', tokenName: body.name },
    ],
  )
  t.notMatch(JSON.stringify(json(await ask(api.socket, '/v1/tokens'))), 'pab_')
  const relative = { ...body, environment: 'venv' }
  t.equal((await ask(api.socket, '/v1/env', { method: 'POST', body: relative })).status, 400)
})

t.test('gives a server job the token as its auth string', async (t) => {
  const api = await withListener(t, 'listening')
  const body = { ...job, profile: 'server', format: 'sh' }
  const { text } = await ask(api.socket, '/v1/env', { method: 'POST', body })
  const { stdout } = spawnSync('sh', [
    '-c',
    `PREFECT_CLOUD_API_URL=old; ${text} env; echo "[$PREFECT_CLOUD_API_URL]"`,
  ])
  const said = String(stdout)
  t.match(said, /PREFECT_API_URL=http:\/\/127\.0\.0\.1:4280\/proxy\/server;events=[\w-]{43}\/api\n/)
  t.match(said, /PREFECT_UI_URL=http:\/\/localhost:4200\n/, 'links lead to the server')
  t.notMatch(said, 'hush', 'without the password of its URL')
  t.match(said, /PREFECT_API_AUTH_STRING=prefect-auth:pab_[\w-]{43}\n/)
  t.match(said, /PREFECT_SILENCE_API_URL_MISCONFIGURATION=true\n/)
  t.match(said, /NO_PROXY=127\.0\.0\.1,localhost\n/)
  t.match(said, /\[https:\/\/api\.prefect\.cloud\/api\]\n/, 'nothing of an earlier profile stays')
})

t.test(
  'starts no job for a profile of Cloud without a workspace, and tells Prefect 2 which API is Cloud',
  async (t) => {
    const api = await withListener(t, 'listening')
    const { resolved } = api.broker.deps.credentials.state('cloud')
    const post = () => ask(api.socket, '/v1/env', { method: 'POST', body: { ...job, format: 'json' } })
    Object.assign(resolved, { hasOldCloudUrl: true })
    t.match(json(await post()), { env: { PREFECT_CLOUD_URL: 'http://127.0.0.1:4280/proxy/cloud/api' } })
    Object.assign(resolved, { hasOldCloudUrl: undefined, workspace: undefined })
    t.match(json(await post()), {
      code: 'workspace_required',
      detail: /PREFECT_API_URL of profile 'cloud' names no workspace/,
      hint: 'prefect-auth workspace set --profile cloud',
    })
    t.equal(JSON.stringify(json(await ask(api.socket, '/v1/tokens'))).split('"id"').length, 2, 'one token')
  },
)

t.test('leads links to where the caller or the profile says that the pages are', async (t) => {
  const resolved = (apiUrl: string, uiUrl?: string) => ({
    ...({ name: 'srv', because: '', source: 'file', isActive: true, kind: 'server', warnings: [] } as const),
    ...{ cloudApiUrl: 'https://api.prefect.cloud/api', cloudUiUrl: 'https://app.prefect.cloud' },
    apiUrl,
    ...defined({ uiUrl }),
  })
  for (const [apiUrl, ofProfile, ofCaller, pages] of [
    ['http://host:4200/api', undefined, undefined, 'http://host:4200'],
    // As Prefect itself would: to the letter.
    ['https://host/prefect/api/', undefined, undefined, 'https://host/prefect/'],
    ['https://host/accounts/a/api', undefined, undefined, 'https://host/account/a'],
    ['https://host/prefect', undefined, undefined, 'https://host/prefect'],
    ['http://host/api', 'https://pages.example/ui/', undefined, 'https://pages.example/ui/'],
    ['http://host/api', 'https://me:hush@pages.example', undefined, 'https://pages.example'],
    ['http://host/api', 'https://pages.example', 'http://mine', 'http://mine'],
  ] as const) {
    const env = planProxyEnv({
      address: 'http://127.0.0.1:4280',
      token: 'pab_x',
      resolved: resolved(apiUrl, ofProfile),
      ...defined({ uiUrl: ofCaller }),
    })
    t.equal(env.PREFECT_UI_URL, pages, apiUrl)
  }
})

t.test('fails with a reason as JSON, and with a failing line in a shell', async (t) => {
  const api = await withListener(t, 'off')
  const asJson = await ask(api.socket, '/v1/env', { method: 'POST', body: { ...job, format: 'json' } })
  t.match(json(asJson), { code: 'tcp_unavailable', hint: /PREFECT_AUTH_PORT/ })
  const asText = await ask(api.socket, '/v1/env', { method: 'POST', body: { ...job, format: 'fish' } })
  t.equal(asText.text, "echo 'prefect-auth: tcp_unavailable' >&2; false\n")
  for (const method of ['POST', 'GET']) {
    api.broker.refuse('cloud', new BrokerError('login_required', 'a login is needed', { hint: 'log in' }))
    const asProblem = await ask(api.socket, `/v1/env${method === 'GET' ? '?format=fish' : ''}`, {
      method,
      headers: { accept: 'text/plain, application/problem+json' },
      ...(method === 'GET' ? {} : { body: { ...job, format: 'fish' } }),
    })
    t.match(asProblem.headers['content-type'], 'application/problem+json', 'for a client that accepts it')
    t.match(json(asProblem), { detail: /./, hint: /./ })
  }
  t.equal(
    (await ask(api.socket, '/v1/env', { method: 'POST', body: { mode: 'direct', name: 'x' } })).status,
    400,
  )
})

t.test('remembers the workspace in which a job began', async (t) => {
  const api = await withListener(t, 'listening')
  const document = memoryDocument<TokenList>({ tokens: [] })
  const tokens = createTokens({
    clock: api.broker.deps.clock,
    document,
    randomToken: () => 'r'.repeat(43),
    newId: () => 'one',
  })
  const app = await buildApp({ ...api.broker.deps, tokens })
  t.teardown(() => app.close())
  const made = await tokens.createForJob({
    name: 'x',
    profile: 'cloud',
    workspace: { accountId: 'a'.repeat(36), workspaceId: 'c'.repeat(36) },
  })
  t.match(tokens.recognise(made.token), { isJob: true, workspace: { workspaceId: 'c'.repeat(36) } })
})

t.test('remembers the workspace of a token for one profile, not for several', async (t) => {
  const api = await startApi(t)
  const { tokens } = api.broker.deps
  for (const [profiles, workspace] of [
    [undefined, WORKSPACE.workspaceId],
    [['cloud'], WORKSPACE.workspaceId],
    [['server'], undefined],
    [['cloud', 'server'], undefined],
    [['*'], undefined],
  ] as const) {
    const body = { name: 'container', power: 'proxy', ...(profiles === undefined ? {} : { profiles }) }
    const { token } = json(await ask(api.socket, '/v1/tokens', { method: 'POST', body }))
    t.equal(tokens.recognise(String(token))?.workspace?.workspaceId, workspace, String(profiles))
  }
})
