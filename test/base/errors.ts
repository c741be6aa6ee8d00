/** The error catalogue: whether a failure is worth another try. */
import t from 'tap'
import { BrokerError, ERROR_CODES, retryOf, shuttingDown } from '../../src/base/errors.js'

t.test('retries soon only what is temporary and says nothing about the request', async (t) => {
  const soon = Object.keys(ERROR_CODES).filter((code) => retryOf(code) === 'soon')
  t.strictSame(soon, [
    'too_many_requests',
    'token_parked',
    'budget_spent',
    'ask_waiting',
    'disk_failed',
    'profiles_file_changed',
    'vault_locked',
    'vault_unavailable',
    'vault_timeout',
    'share_store_unreachable',
    'share_store_sealed',
    'share_store_login',
    'prefect_unreachable',
    'prefect_rate_limited',
    'prefect_failed',
    'shutting_down',
  ])
})

t.test('retries seldom what Prefect or a store refuses until somebody changes a policy', async (t) => {
  const seldom = Object.keys(ERROR_CODES).filter((code) => retryOf(code) === 'seldom')
  t.strictSame(seldom, [
    'owner_mismatch',
    'key_minting_refused',
    'share_store_denied',
    'share_store_refused',
    'share_document_deleted',
    'share_not_ready',
    'prefect_forbidden',
  ])
})

t.test('never retries a code that is not in the catalogue', async (t) => {
  for (const code of ['', 'EACCES', 'constructor']) t.equal(retryOf(code), 'never')
})

t.test('an error has the kind and the retry of its code, and does not print the latter', async (t) => {
  const error = new BrokerError('prefect_forbidden', 'cannot list the workspaces')
  t.equal(error.kind, 'denied')
  t.equal(error.retry, 'seldom')
  t.notOk(Object.hasOwn(error, 'retry'))
})

t.test('shutting down has one wording, with a command to type', async (t) => {
  const { code, message, hint } = shuttingDown()
  t.strictSame(
    { code, message, hint },
    {
      code: 'shutting_down',
      message: 'prefect-authd is shutting down',
      hint: 'try again once it is back: prefect-auth status',
    },
  )
})
