/** Which requests to a login's port may be a delivery, as a table. */

import t from 'tap'
import { hashState, refuseCallback } from '../../src/login/delivery.js'

const UI = 'https://app.prefect.cloud'
const RULES = { hosts: new Set(['localhost:1']), uiOrigin: UI }
const GET = { method: 'GET', target: '/?key=x', hosts: ['localhost:1'], headers: {} }
const POST = { ...GET, method: 'POST', target: '/success', headers: { origin: UI } }
const PREFLIGHT = { ...POST, method: 'OPTIONS' }

t.test('names the reason of a refusal', async (t) => {
  for (const [name, head, expected] of [
    ['a navigation', GET, undefined],
    ['a navigation with metadata', { ...GET, headers: { 'sec-fetch-mode': 'navigate' } }, undefined],
    ['no Host', { ...GET, hosts: [] }, 'host'],
    ['a second Host', { ...GET, hosts: ['localhost:1', 'localhost:1'] }, 'host'],
    ['a rebound Host', { ...GET, hosts: ['evil.example:1'] }, 'host'],
    ['an absolute target', { ...GET, target: 'http://localhost:1/' }, 'target'],
    ['an upgrade', { ...GET, headers: { upgrade: 'websocket' } }, 'upgrade'],
    ['a prefetch', { ...GET, headers: { 'sec-purpose': 'prefetch' } }, 'speculation'],
    ['a GET with an Origin', { ...GET, headers: { origin: UI } }, 'origin'],
    ['a frame', { ...GET, headers: { 'sec-fetch-dest': 'iframe' } }, 'not a navigation'],
    ['a POST of the UI', POST, undefined],
    ['a POST without Origin', { ...POST, headers: {} }, 'origin'],
    ['a POST of a sandboxed frame', { ...POST, headers: { origin: 'null' } }, 'origin'],
    [
      'a preflight',
      { ...PREFLIGHT, headers: { origin: UI, 'access-control-request-method': 'POST' } },
      undefined,
    ],
    ['a preflight for nothing', PREFLIGHT, 'preflight'],
    ['a preflight of another page', { ...PREFLIGHT, headers: { origin: 'https://evil.example' } }, 'origin'],
    ['another method', { ...GET, method: 'HEAD' }, 'method'],
  ] as const) {
    t.equal(refuseCallback(head, RULES)?.why, expected, name)
  }
})

t.test('compares the whole first segment with the state', async (t) => {
  const rules = { ...RULES, stateHash: hashState('abc') }
  for (const [target, expected] of [
    ['/abc?key=x', undefined],
    ['/abc/?key=x', undefined],
    ['/ab?key=x', 'state'],
    ['/abcd?key=x', 'state'],
    ['/ABC?key=x', 'state'],
    ['/x/abc?key=x', 'state'],
    ['/?key=x', 'state'],
  ] as const) {
    t.equal(refuseCallback({ ...GET, target }, rules)?.why, expected, target)
  }
})
