/** How one request is ruled, and what the policies say about themselves. */
import t from 'tap'
import { listOperations } from '../../src/policy/operations.js'
import { describePolicies, effectOf, POLICIES, ruleOn } from '../../src/policy/policy.js'
import { POLICY_NAMES, type PolicyName } from '../../src/wire/kinds.js'

const ID = '11111111-2222-3333-4444-555555555555'
const W = `/accounts/${ID}/workspaces/${ID}`

/** The narrowest policy that lets an operation pass. */
const NARROWEST: readonly (readonly [request: string, policy: PolicyName])[] = [
  ['GET /me', 'read'],
  ['GET /version', 'read'],
  ['GET /csrf-token', 'read'],
  [`GET /accounts/${ID}/settings`, 'read'],
  [`GET ${W}/flows/${ID}`, 'read'],
  [`HEAD ${W}/flows/${ID}`, 'read'],
  [`POST ${W}/flow_runs/filter`, 'read'],
  [`POST ${W}/block_documents/filter`, 'read'],
  [`GET ${W}/events/out`, 'read'],
  ['GET /logs/out', 'read'],
  [`POST ${W}/deployments/${ID}/create_flow_run`, 'run'],
  [`POST ${W}/flow_runs/${ID}/set_state`, 'run'],
  [`POST ${W}/flow_runs/${ID}/resume`, 'run'],
  ['POST /logs/', 'work'],
  ['POST /flows/', 'work'],
  ['POST /task_runs/x/set_state', 'work'],
  ['GET /events/in', 'work'],
  ['GET /task_runs/subscriptions/scheduled', 'work'],
  ['GET /work_pools/my%20pool/workers/connect', 'work'],
  ['POST /work_pools/filter/get_scheduled_flow_runs', 'work'],
  ['POST /v2/concurrency_limits/leases/x/renew', 'work'],
  ['POST /variables/', 'work'],
  ['POST /block_documents/', 'work'],
  ['PATCH /block_documents/x', 'deploy'],
  ['PATCH /work_pools/x', 'deploy'],
  ['POST /deployments/', 'deploy'],
  ['DELETE /automations/owned-by/x', 'deploy'],
  ['GET /webhooks/x', 'deploy'],
  ['DELETE /deployments/x', 'all'],
  ['DELETE /flow_runs/x', 'all'],
  ['POST /admin/database/drop', 'all'],
  ['GET /something/new', 'all'],
  ['POST /flows/filter/new', 'all'],
  ['GET /flows/../me', 'all'],
]

t.test('each policy allows what the narrower ones do, and more', async (t) => {
  for (const [request, narrowest] of NARROWEST) {
    const [method = '', path = ''] = request.split(' ')
    const passed = POLICY_NAMES.filter((may) => ruleOn(method, path, { may }).mayPass)
    t.same(passed, POLICY_NAMES.slice(POLICY_NAMES.indexOf(narrowest)), request)
  }
})

t.test('without a policy everything passes, and secrets are shown', async (t) => {
  for (const [request] of NARROWEST) {
    const [method = '', path = ''] = request.split(' ')
    t.match(ruleOn(method, path, undefined), { mayPass: true, hidesSecrets: false }, request)
  }
})

t.test('single operations are allowed and denied, and a denial counts first', async (t) => {
  const operation = 'POST /logs/'
  const other = 'POST /flows/'
  t.equal(ruleOn('POST', '/logs', { may: 'read', allow: [operation] }).mayPass, true)
  t.equal(ruleOn('POST', '/flows', { may: 'read', allow: [operation] }).mayPass, false)
  t.equal(ruleOn('POST', '/logs', { may: 'work', deny: [operation] }).mayPass, false)
  t.equal(ruleOn('POST', '/flows', { may: 'work', deny: [operation] }).mayPass, true)
  t.equal(
    ruleOn('POST', '/logs', { may: 'read', allow: [operation, other], deny: [operation] }).mayPass,
    false,
  )
  t.equal(ruleOn('POST', '/logs', { may: 'all', deny: [operation] }).mayPass, false)
})

t.test('no spelling of a path gets around a denial', async (t) => {
  const deny = ['POST /deployments/{id}/create_flow_run']
  const paths = ['', W, '/api', '/api/api'].flatMap((base) =>
    ['create_flow_run', 'create_flow_run/', '%63reate_flow_run', 'create%5fflow_run'].map(
      (end) => `${base}/deployments/${ID}/${end}`,
    ),
  )
  for (const path of paths) t.equal(ruleOn('POST', path, { may: 'all', deny }).mayPass, false, path)
})

t.test('what the table does not have is named all the same, without an effect', async (t) => {
  t.strictSame(ruleOn('POST', `${W}/incidents/${ID}/close`, { may: 'work' }), {
    mayPass: false,
    operation: 'POST /incidents/{id}/close',
    hidesSecrets: false,
  })
  t.strictSame(ruleOn('POST', '/a/../b', { may: 'read' }), {
    mayPass: false,
    operation: 'POST /{ambiguous}',
    hidesSecrets: true,
  })
})

t.test('only wider policies than run see Secret blocks in the clear', async (t) => {
  const hiding = POLICY_NAMES.filter((may) => ruleOn('GET', '/block_documents/x', { may }).hidesSecrets)
  t.same(hiding, ['read', 'run'])
})

t.test('operations that policies name are in the table', async (t) => {
  for (const name of POLICY_NAMES) {
    for (const operation of POLICIES[name].operations) t.ok(effectOf(operation), `${name}: ${operation}`)
  }
})

t.test('a policy is described by all that it allows', async (t) => {
  const described = describePolicies()
  t.same(
    described.map(({ name }) => name),
    POLICY_NAMES,
  )
  for (const { name, operations, sentence } of described) {
    t.not(sentence, '')
    t.equal(new Set(operations).size, operations.length)
    for (const [operation] of listOperations()) {
      const [method = '', template = ''] = operation.split(' ')
      const { mayPass } = ruleOn(method, template.replace(/\{[^}]*\}/g, ID), { may: name })
      t.equal(operations.includes(operation), mayPass, `${name}: ${operation}`)
    }
  }
  t.equal(described.at(-1)?.operations.length, listOperations().length)
})
