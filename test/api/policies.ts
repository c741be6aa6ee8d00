/** Policies over the API: asked for by name at every door that makes tokens, listed, and shown with each token. */
import t from 'tap'
import { listOperations } from '../../src/policy/operations.js'
import { POLICY_NAMES } from '../../src/wire/kinds.js'
import { policyList } from '../../src/wire/policies.js'
import { tokenAnswer } from '../../src/wire/tokens.js'
import { type ApiUnderTest, ask, json, startApi } from '../fixtures/api-under-test.js'

const RUN = 'POST /deployments/{id}/create_flow_run'
const DELETE = 'DELETE /flows/{id}'

async function setStage(t: Parameters<typeof startApi>[0]) {
  const api = await startApi(t)
  const { inspection } = api.broker.deps
  const status = inspection.status()
  const listeners = [{ door: 'tcp', address: 'http://127.0.0.1:4280', state: 'listening' }]
  Object.assign(inspection, { status: () => ({ ...status, listeners }) })
  return api
}

/** The two routes that make a token, with what each needs besides. */
const MAKERS = [
  ['POST /v1/tokens', { name: 'x' }],
  ['POST /v1/env', { mode: 'proxy', name: 'x', format: 'json' }],
] as const

async function make(api: ApiUnderTest, [route, body]: (typeof MAKERS)[number], limits: object) {
  const [method = '', path = ''] = route.split(' ')
  return ask(api.socket, path, { method, body: { ...body, ...limits } })
}

const GOOD = [
  ['none', {}, {}],
  ['all, which is none', { may: 'all' }, {}],
  ['a policy', { may: 'read' }, { may: 'read' }],
  ['a policy in capitals', { may: ' Read' }, { may: 'read' }],
  ['one operation more', { may: 'read', allow: [RUN] }, { may: 'read', allow: [RUN] }],
  ['the same operation twice', { may: 'read', allow: [RUN, RUN] }, { may: 'read', allow: [RUN] }],
  [
    'an operation in other words',
    { may: 'read', allow: ['post /deployments/{deployment_id}/create_flow_run/'] },
    { may: 'read', allow: [RUN] },
  ],
  ['one operation less', { may: 'deploy', deny: [DELETE] }, { may: 'deploy', deny: [DELETE] }],
  ['one operation less than all', { deny: [DELETE] }, { may: 'all', deny: [DELETE] }],
  ['empty lists', { may: 'run', allow: [], deny: [] }, { may: 'run' }],
  ['questions', { ask: 'write' }, { ask: 'write' }],
  ['everything', { may: 'run', ask: 'all', deny: [RUN] }, { may: 'run', ask: 'all', deny: [RUN] }],
] as const

t.test('limits a token as asked, and says so wherever it shows it', async (t) => {
  for (const maker of MAKERS) {
    for (const [what, limits, expected] of GOOD) {
      const api = await setStage(t)
      const made = await make(api, maker, limits)
      t.match(made.status, /^20[01]$/, `${what}: ${made.text}`)
      const wanted = { may: undefined, allow: undefined, deny: undefined, ask: undefined, ...expected }
      const { tokens } = json(await ask(api.socket, '/v1/tokens'))
      const shown = Array.isArray(tokens) ? tokens[0] : undefined
      const answers = [shown, json(await ask(api.socket, '/v1/tokens/tok1'))]
      if (maker[0] === 'POST /v1/tokens') answers.push(json(made))
      for (const { may, allow, deny, ask: asks } of answers)
        t.strictSame({ may, allow, deny, ask: asks }, wanted, `${maker[0]}: ${what}`)
    }
  }
})

const BAD = [
  [
    { may: 'red' },
    400,
    'policy_unknown',
    /'red' \(did you mean 'read'\?\); the policies are read, run, work, deploy, all$/,
  ],
  [{ may: '' }, 400, 'policy_unknown', /the policies are read, run/],
  [{ may: 'toString' }, 400, 'policy_unknown', /./],
  [{ may: '\u001b[2Jrun' }, 400, 'policy_unknown', /^[\x20-\x7e]+$/],
  [{ may: 'x'.repeat(60) }, 400, 'bad_request', /^'may' in the body must have at most 50/],
  [
    { may: 'read', allow: ['POST /deployments/create_flow_run'] },
    400,
    'operation_unknown',
    /did you mean '.*create_flow_run/,
  ],
  [
    { may: 'read', deny: ['GET /flow/{id}'] },
    400,
    'operation_unknown',
    /did you mean '.*GET \/flows\/\{id\}'/,
  ],
  [{ may: 'read', allow: ['create_flow_run'] }, 400, 'operation_unknown', /create_flow_run'/],
  [{ may: 'read', allow: ['POST'] }, 400, 'operation_unknown', /there is no operation 'POST'/],
  [{ may: 'read', allow: ['*'] }, 400, 'operation_unknown', /./],
  [{ may: 'read', allow: [''] }, 400, 'bad_request', /./],
  [{ may: 'read', allow: Array(101).fill(RUN) }, 400, 'bad_request', /at most 100/],
  [{ allow: [RUN] }, 400, 'bad_request', /'all', which includes every operation/],
  [{ may: 'all', allow: [RUN] }, 400, 'bad_request', /'all', which includes every operation/],
  [{ ask: 'sometimes' }, 400, 'bad_request', /must be one of write, all/],
  [
    { may: 'read', allow: ['POST /bots/'] },
    403,
    'proxy_path_refused',
    /no policy can allow POST \/bots\/: .*keys$/,
  ],
  [{ may: 'read', allow: ['post /users/{id}/api_keys'] }, 403, 'proxy_path_refused', /no policy can allow/],
  [
    { may: 'read', allow: ['POST /admin/database/clear'] },
    403,
    'proxy_path_refused',
    /forwards it for nobody/,
  ],
  [
    { may: 'read', allow: ['POST /accounts/x/workspaces/y/flows/filter'] },
    403,
    'proxy_path_refused',
    /another/,
  ],
  [{ may: 'read', allow: ['POST /flows/../bots'] }, 403, 'proxy_path_refused', /ambiguous/],
] as const

t.test('refuses limits that cannot be meant, and makes no token', async (t) => {
  const api = await setStage(t)
  for (const maker of MAKERS) {
    for (const [limits, status, code, detail] of BAD) {
      const answer = await make(api, maker, limits)
      t.equal(answer.status, status, `${JSON.stringify(limits)}: ${answer.text}`)
      t.match(json(answer), { code, detail }, `${maker[0]} ${JSON.stringify(limits)}`)
    }
  }
  t.same(api.broker.deps.tokens.list(), [])
})

t.test(
  'other tokens have no limits: neither powers that hand out the key, nor those of environments',
  async (t) => {
    const api = await setStage(t)
    for (const power of ['use', 'inspect']) {
      const answer = await make(api, MAKERS[0], { power, may: 'read' })
      t.match([answer.status, json(answer)], [400, { code: 'bad_request', detail: /need the power 'proxy'/ }])
      t.equal((await make(api, MAKERS[0], { power, may: 'all' })).status, 201)
    }
    for (const limits of [{ may: 'read' }, { ask: 'all' }, { deny: [DELETE] }]) {
      const answer = await make(api, MAKERS[1], { environment: '/venv', ...limits })
      t.match([answer.status, json(answer)], [400, { detail: /environment has no policy/ }])
    }
    t.equal((await make(api, MAKERS[1], { environment: '/venv', may: 'all' })).status, 200)
  },
)

t.test('shows a token by its id, or by a name that no other has', async (t) => {
  const api = await setStage(t)
  await make(api, MAKERS[0], { name: 'dash board/ü', may: 'run', allow: [DELETE], deny: [RUN] })
  const show = async (name: string) => ask(api.socket, `/v1/tokens/${encodeURIComponent(name)}`)
  for (const name of ['tok1', 'dash board/ü']) {
    const answer = json(await show(name))
    t.match(answer, { id: 'tok1', name: 'dash board/ü', may: 'run', sentence: /starts/ })
    const { operations } = tokenAnswer.parse(answer)
    t.ok(operations?.includes(DELETE) && operations.includes('GET /flows/{id}'))
    t.notOk(operations?.includes(RUN))
  }
  await make(api, MAKERS[0], { name: 'twin' })
  t.match(json(await show('twin')), { id: 'tok2', operations: undefined, sentence: /everything/ })
  await make(api, MAKERS[0], { name: 'twin' })
  t.match(json(await show('twin')), {
    code: 'token_not_found',
    detail: /^2 tokens have the name 'twin': tok2, tok3$/,
  })
  t.match(json(await show('nobody')), { status: 404, code: 'token_not_found' })
  await make(api, MAKERS[0], { name: 'tok1' })
  t.match(json(await show('tok1')), { name: 'dash board/ü' }, 'an id wins over a name')
})

t.test('says what a token was refused, and which policy would allow it', async (t) => {
  const api = await setStage(t)
  const { tokens } = api.broker.deps
  await make(api, MAKERS[0], { may: 'read' })
  t.equal(json(await ask(api.socket, '/v1/tokens/tok1')).refused, undefined)
  for (const operation of [RUN, 'POST /new_things', 'POST /flow_runs/{id}/set_state'])
    tokens.noteRefused('tok1', operation, 'policy')
  tokens.noteRefused('tok1', 'POST /bots', 'proxy')
  tokens.noteRefused('tok1', RUN, 'policy')
  const expected = [
    { operation: RUN, count: 2, by: 'policy', effect: 'runs', allowed_by: 'run' },
    { operation: 'POST /bots', count: 1, by: 'proxy', effect: undefined, allowed_by: undefined },
    { operation: 'POST /flow_runs/{id}/set_state', by: 'policy', effect: 'works', allowed_by: 'run' },
    { operation: 'POST /new_things', by: 'policy', effect: undefined, allowed_by: 'all' },
  ]
  t.match(json(await ask(api.socket, '/v1/tokens/tok1')).refused, expected)
  t.match(json(await ask(api.socket, '/v1/tokens')), { tokens: [{ refused: expected }] })
})

t.test('lists the policies and all operations', async (t) => {
  const api = await setStage(t)
  const inspect = await api.broker.token('inspect', ['server'])
  const answer = await ask(api.tcp, '/v1/policies', { token: inspect })
  const { policies, operations } = policyList.parse(json(answer))
  t.same(
    policies.map(({ name }) => name),
    POLICY_NAMES,
  )
  t.same(
    operations.map(({ operation, effect }) => [operation, effect]),
    listOperations(),
  )
  for (const { name, operations: included } of policies) {
    const made = await make(api, MAKERS[0], { name, may: name })
    const shown = tokenAnswer.parse(json(await ask(api.socket, `/v1/tokens/${json(made).id}`)))
    t.strictSame(shown.operations, name === 'all' ? undefined : included, name)
  }
  t.equal((await ask(api.tcp, '/v1/policies', { token: await api.broker.token('proxy') })).status, 403)
})
