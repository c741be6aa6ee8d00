/** Every error code becomes problem details with its status. */
import t from 'tap'
import { BrokerError, ERROR_CODES, type ErrorCode, isBrokerError } from '../../src/base/errors.js'
import { renderProblem, statusOf, toBrokerError } from '../../src/http/problem.js'
import { problem } from '../../src/wire/common.js'

t.test('maps every kind to its HTTP status', (t) => {
  const statuses = {
    bad_request: 400,
    token_required: 401,
    login_required: 401,
    power_missing: 403,
    not_found: 404,
    method_not_allowed: 405,
    profile_exists: 409,
    body_too_large: 413,
    media_type_unsupported: 415,
    host_refused: 421,
    too_many_requests: 429,
    internal: 500,
    prefect_unreachable: 502,
    vault_locked: 503,
  } as const satisfies Partial<Record<ErrorCode, number>>
  for (const [code, status] of Object.entries(statuses)) {
    const known = Object.keys(ERROR_CODES).find((one): one is ErrorCode => one === code)
    if (known !== undefined) t.equal(statusOf(new BrokerError(known, 'x')), status, code)
  }
  t.end()
})

t.test('renders RFC 9457 fields, the code, and a hint only if there is one', (t) => {
  const bare = renderProblem(new BrokerError('vault_locked', 'the vault is locked'))
  t.same(bare, {
    type: 'urn:prefect-auth:vault_locked',
    title: 'vault locked',
    status: 503,
    detail: 'the vault is locked',
    code: 'vault_locked',
    kind: 'unavailable',
  })
  t.same(problem.parse(bare), bare)
  t.equal(
    renderProblem(new BrokerError('vault_locked', 'x', { hint: 'prefect-auth unlock' })).hint,
    'prefect-auth unlock',
  )
  t.end()
})

t.test('turns an unknown error into an opaque internal one with its cause', (t) => {
  for (const thrown of [new Error('pnu_secret'), 'pnu_secret', undefined, null, { statusCode: 418 }]) {
    const error = toBrokerError(thrown)
    t.ok(isBrokerError(error, 'internal'))
    t.notMatch(error.message, 'pnu_secret')
    t.equal(error.cause, thrown)
  }
  t.end()
})
