/** Failures: read from problem documents, carried inside errors. */
import t from 'tap'
import { failed, failureOf, parseProblem } from '../../src/client/failure.js'
import { ERROR_KINDS } from '../../src/wire/kinds.js'

t.test('turns a problem document into a failure, with its hint if it has one', async (t) => {
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

t.test('knows every kind of the wire', async (t) => {
  for (const kind of ERROR_KINDS) {
    t.match(parseProblem(400, JSON.stringify({ code: 'x', kind, detail: 'd' })), { kind })
  }
})

t.test('turns any other response into a failure too', async (t) => {
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

t.test('finds the failure inside an error, and none in other errors', async (t) => {
  const failure = { code: 'usage', kind: 'usage', detail: 'd' } as const

  t.same(failureOf(failed(failure)), failure)
  t.equal(failureOf(new Error('boom')), undefined)
  t.equal(failureOf(new Error('boom', { cause: new Error('deeper') })), undefined)
  t.equal(failureOf('boom'), undefined)
})
