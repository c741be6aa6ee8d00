/** What a client makes of the daemon's problems. */
import t from 'tap'
import { failed, failureOf, parseProblem } from '../../src/client/failure.js'
import { ERROR_KINDS } from '../../src/wire/kinds.js'

t.test('a problem document becomes a failure, with the hint where there is one', async (t) => {
  const document = {
    type: 'urn:x',
    title: 't',
    status: 401,
    detail: 'no key',
    code: 'login_required',
    kind: 'login',
  }

  t.same(parseProblem(401, JSON.stringify(document)), {
    code: 'login_required',
    kind: 'login',
    detail: 'no key',
  })
  t.match(parseProblem(401, JSON.stringify({ ...document, hint: 'prefect-auth login' })), {
    hint: 'prefect-auth login',
  })
})

t.test('every kind of the wire is known', async (t) => {
  for (const kind of ERROR_KINDS) {
    t.match(parseProblem(400, JSON.stringify({ code: 'x', kind, detail: 'd' })), { kind })
  }
})

t.test('an answer that is no problem document is a failure all the same', async (t) => {
  for (const text of [
    '',
    'gateway',
    '[]',
    '{}',
    '{"code":1}',
    '{"code":"x","kind":"strange","detail":"d"}',
  ]) {
    t.match(parseProblem(502, text), { code: 'not_understood', kind: 'no_answer', detail: /502/ })
  }
})

t.test('the failure travels inside the error, and other errors have none', async (t) => {
  const failure = { code: 'usage', kind: 'usage', detail: 'd' } as const

  t.same(failureOf(failed(failure)), failure)
  t.equal(failureOf(new Error('boom')), undefined)
  t.equal(failureOf(new Error('boom', { cause: new Error('deeper') })), undefined)
  t.equal(failureOf('boom'), undefined)
})
