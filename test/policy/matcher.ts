/** Which operation of the table a request is. The routers of the real servers are asked in test/e2e/policy-operations.ts. */
import t from 'tap'
import { findOperation, withoutWorkspace } from '../../src/policy/matcher.js'
import { listOperations, WEBSOCKETS } from '../../src/policy/operations.js'

const ID = '11111111-2222-3333-4444-555555555555'
const W = `/accounts/${ID}/workspaces/${ID}`

t.test('finds every operation of the table by its own path', async (t) => {
  for (const [operation] of listOperations()) {
    const [method = '', template = ''] = operation.split(' ')
    const path = template.replace(/\{[^}]*\}/g, ID)
    t.equal(findOperation(method, path), operation)
    if (template.startsWith('/accounts/') || template.startsWith('/me')) continue
    t.equal(findOperation(method, `${W}${path}`), operation, `${operation} in a workspace`)
    t.equal(findOperation(method, `/api${path}`), operation, `${operation} at a base without /api`)
  }
})

t.test('each operation is in the table once', async (t) => {
  const shapes = listOperations().map(([operation]) => operation.replace(/\{[^}]*\}/g, '{}'))
  t.same(
    shapes.filter((shape, at) => shapes.indexOf(shape) !== at),
    [],
  )
})

t.test('no path can be read as two operations with different effects', async (t) => {
  const all = listOperations().map(([operation, effect]) => ({
    operation,
    effect,
    parts: operation.replace(/\/$/, '').split(/[ /]+/),
  }))
  const fits = (a: string | undefined, b: string | undefined) =>
    a === b || a?.startsWith('{') === true || b?.startsWith('{') === true
  const pairs = all.flatMap((a, at) =>
    all
      .slice(at + 1)
      .filter((b) => a.parts.length === b.parts.length && a.parts.every((part, i) => fits(part, b.parts[i])))
      .map((b) => ({ a, b })),
  )
  t.same(
    pairs.filter(({ a, b }) => a.effect !== b.effect).map(({ a, b }) => `${a.operation} and ${b.operation}`),
    [],
  )
})

const CASES: readonly (readonly [method: string, path: string, operation: string | undefined])[] = [
  ['GET', '', 'GET /'],
  ['GET', '/', 'GET /'],
  ['GET', W, 'GET /'],
  ['GET', `${W}/`, 'GET /'],
  ['DELETE', W, undefined],
  ['HEAD', `${W}/flows/${ID}`, 'GET /flows/{id}'],
  ['OPTIONS', `${W}/flows/${ID}`, 'GET /flows/{id}'],
  ['GET', `${W}/flows/${ID}/`, 'GET /flows/{id}'],
  ['POST', `${W}/flows`, 'POST /flows/'],
  ['POST', `${W}/events/`, 'POST /events'],
  ['get', `${W}/flows/${ID}`, undefined],
  ['GET', `${W}/flows/name/filter`, 'GET /flows/name/{name}'],
  ['GET', '/flows/filter', 'GET /flows/{id}'],
  ['GET', '/work_queues/name/status', 'GET /work_queues/name/{name}'],
  ['GET', '/work_queues/nam/status', 'GET /work_queues/{id}/status'],
  ['POST', '/flows/%66ilter', 'POST /flows/filter'],
  ['POST', '/deployments/x/%63reate_flow_run', 'POST /deployments/{id}/create_flow_run'],
  ['POST', '/Flows/filter', undefined],
  ['POST', '/flows/filter/x', undefined],
  ['POST', '/flows/%2e%2e/filter', undefined],
  ['POST', '/flows//filter', undefined],
  ['GET', '/accounts/x/settings', 'GET /accounts/{account}/settings'],
  ['POST', '/accounts/x/workspaces/filter', 'POST /accounts/{account}/workspaces/filter'],
  ['GET', '/accounts/x/workspaces', 'GET /accounts/{account}/workspaces'],
  ['GET', `${W}/accounts/x/settings`, 'GET /accounts/{account}/settings'],
  ['GET', '/constructor', undefined],
  ['GET', '/__proto__/x', undefined],
  ['GET', `/flows/name/${'x'.repeat(10_000)}`, 'GET /flows/name/{name}'],
  ['GET', '/x'.repeat(10_000), undefined],
]

t.test('finds the operation of a path', async (t) => {
  for (const [method, path, operation] of CASES) {
    t.equal(findOperation(method, path), operation, `${method} ${path.slice(0, 80)}`)
  }
})

t.test('takes the workspace off a path', async (t) => {
  t.equal(withoutWorkspace(`${W}/flows/x`), '/flows/x')
  t.equal(withoutWorkspace(W), '')
  t.equal(withoutWorkspace('/flows/x'), '/flows/x')
  t.equal(withoutWorkspace('/accounts/x/workspaces/filter'), '/accounts/x/workspaces/filter')
})

t.test('every WebSocket is an operation of the table', async (t) => {
  for (const operation of WEBSOCKETS) {
    const [method = '', path = ''] = operation.split(' ')
    t.equal(findOperation(method, path.replace(/\{\w+\}/g, 'x')), operation)
  }
})
