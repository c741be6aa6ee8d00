/** Names of policies and operations as people type them. */
import t from 'tap'
import { nearestOperation, parseOperation, parsePolicyName } from '../../src/policy/names.js'
import { listOperations } from '../../src/policy/operations.js'

t.test('recognizes every operation by its own name', async (t) => {
  for (const [operation] of listOperations()) {
    t.same(parseOperation(operation), { kind: 'known', name: operation })
    t.equal(nearestOperation(operation), operation)
  }
})

const OTHER_SPELLINGS: readonly (readonly [text: string, name: string])[] = [
  ['post /flow_runs/{id}/set_state', 'POST /flow_runs/{id}/set_state'],
  ['  POST   /flows  ', 'POST /flows/'],
  ['POST /flow_runs/{flow_run_id}/set_state/', 'POST /flow_runs/{id}/set_state'],
  ['DELETE /variables/name/{variable}', 'DELETE /variables/name/{name}'],
  ['GET /flow_runs/11111111-2222-3333-4444-555555555555', 'GET /flow_runs/{id}'],
]

t.test('recognizes other spellings of an operation', async (t) => {
  for (const [text, name] of OTHER_SPELLINGS) t.same(parseOperation(text), { kind: 'known', name }, text)
})

const MISTAKES: readonly (readonly [text: string, nearest: string])[] = [
  ['POST /flow_run/{id}/set_state', 'POST /flow_runs/{id}/set_state'],
  ['POST /deployments/{id}/create_flowrun', 'POST /deployments/{id}/create_flow_run'],
  ['GET /variables/count', 'POST /variables/count'],
  ['create_flow_run/bulk', 'POST /deployments/{id}/create_flow_run/bulk'],
  ['/logs/filter', 'POST /logs/filter'],
  ['DELETE /flow/{id}', 'DELETE /flows/{id}'],
]

t.test('names the nearest operation of one that does not exist', async (t) => {
  for (const [text, nearest] of MISTAKES) {
    const named = parseOperation(text)
    t.equal(named.kind, 'unknown', text)
    t.equal(named.kind === 'unknown' ? named.nearest[0] : named.name, nearest, text)
  }
})

t.test('takes nothing for an operation that is none', async (t) => {
  for (const text of [
    '',
    'POST',
    '/',
    'POST /flows/ x',
    'POST /../flows',
    'x'.repeat(100_000),
    '{}',
    'GET /{a}/{b}',
  ]) {
    const named = parseOperation(text)
    t.equal(named.kind, 'unknown', text.slice(0, 40))
    t.equal(named.kind === 'unknown' && named.nearest.length, 3, 'three to choose from')
  }
})

t.test('recognizes policies, and names the nearest of what is none', async (t) => {
  t.same(parsePolicyName('read'), { kind: 'known', name: 'read' })
  t.same(parsePolicyName(' Deploy '), { kind: 'known', name: 'deploy' })
  t.same(parsePolicyName('reed'), { kind: 'unknown', nearest: ['read'] })
  t.same(parsePolicyName('worker'), { kind: 'unknown', nearest: ['work'] })
  t.equal(parsePolicyName('toString').kind, 'unknown')
})
