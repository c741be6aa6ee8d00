/** The book of questions: a yes is used at most once, in time, and never for another request. */
import { strict as assert } from 'node:assert'
import fc from 'fast-check'
import t from 'tap'
import { type Asked, BOOK_LIMITS, type BookLimits, createBook } from '../../src/asks/book.js'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

const asked = (change: Partial<Asked> = {}): Asked => ({
  token: { id: 't1', name: 'agent' },
  profile: 'cloud',
  root: '/accounts/a/workspaces/w',
  operation: 'POST /deployments/{id}/create_flow_run',
  effect: 'runs',
  digest: 'd1',
  retryMs: 2 * SECOND,
  ...change,
})

function openBook(limits: Partial<BookLimits> = {}) {
  let now = 0
  const closed: string[] = []
  const book = createBook<string>({
    now: () => now,
    limits: { ...BOOK_LIMITS, ...limits },
    onClosed: ({ id }, closing) => closed.push(`${id} ${closing}`),
  })
  const ask = (change: Partial<Asked> = {}) => book.ask(asked(change), (id) => `question ${id}`)
  return {
    ...{ book, closed, ask },
    kind: (change: Partial<Asked> = {}) => ask(change).kind,
    pass(ms: number) {
      now += ms
    },
  }
}

t.test('the same request is the same question', async (t) => {
  const { book, ask } = openBook()
  const first = ask()
  t.match(first, { kind: 'wait', isNew: true, question: { id: 1, details: 'question 1' } })
  t.match(ask(), { kind: 'wait', isNew: false, question: { id: 1 } })
  t.match(ask({ digest: 'd2' }), { kind: 'wait', isNew: true, question: { id: 2 } })
  t.same(
    book.open().map(({ id }) => id),
    [1, 2],
  )
})

t.test('a question whose operation was allowed for an hour is accepted when its request comes', async (t) => {
  const { book, kind, closed, pass } = openBook()
  kind()
  kind({ digest: 'd2' })
  book.answer(1, 'hour')
  t.equal(kind({ digest: 'd2' }), 'pass')
  t.same(book.open(), [])
  pass(MINUTE)
  book.sweep()
  t.same(closed, ['1 accepted', '2 accepted'])
})

t.test('a yes lets its request pass once', async (t) => {
  const { book, kind, closed } = openBook()
  kind()
  t.match(book.answer(1, 'once'), { id: 1 })
  t.same(book.open(), [])
  t.equal(kind(), 'pass')
  t.equal(kind(), 'wait', 'the next one is asked about again')
  t.same(closed, ['1 accepted'])
})

const OTHERS: readonly (readonly [what: string, change: Partial<Asked>])[] = [
  ['body or path', { digest: 'd2' }],
  ['token', { token: { id: 't2', name: 'agent' } }],
  ['profile', { profile: 'prod' }],
  ['workspace', { root: '/accounts/a/workspaces/x', digest: 'd1 in x' }],
  ['operation', { operation: 'DELETE /flows/{id}' }],
]
for (const [what, change] of OTHERS) {
  t.test(`a yes does not count for another ${what}`, async (t) => {
    const { book, kind } = openBook()
    kind()
    book.answer(1, 'once')
    t.equal(kind(change), 'wait')
    t.equal(kind(), 'pass')
  })
}

t.test('a yes for an hour counts for its operation, token, profile and workspace', async (t) => {
  const { book, kind, pass } = openBook()
  kind()
  book.answer(1, 'hour')
  for (const _ of [1, 2]) t.equal(kind(), 'pass')
  t.equal(kind({ digest: 'd2' }), 'pass')
  for (const [what, change] of OTHERS.slice(1)) t.equal(kind(change), 'wait', what)
  t.match(book.allowances(), [{ tokenId: 't1', profile: 'cloud', until: HOUR }])
  pass(HOUR)
  t.equal(kind(), 'wait')
  t.same(book.allowances(), [])
})

t.test('a no is remembered for ten minutes', async (t) => {
  const { book, kind, pass, closed } = openBook()
  kind()
  book.answer(1, 'no')
  t.equal(kind(), 'refused')
  t.equal(kind({ digest: 'd2' }), 'wait', 'another request is asked about')
  pass(10 * MINUTE - 1)
  t.equal(kind(), 'refused')
  pass(1)
  t.equal(kind(), 'wait')
  t.match(closed, ['1 refused'])
})

t.test('a yes ends after ten minutes', async (t) => {
  const { book, kind, pass } = openBook()
  kind()
  book.answer(1, 'once')
  pass(10 * MINUTE)
  t.equal(kind(), 'wait')
})

t.test('a question is gone when it was not asked again in time, and a yes then does nothing', async (t) => {
  const { book, kind, pass, closed } = openBook()
  kind()
  pass(6 * SECOND - 1)
  kind()
  pass(6 * SECOND - 1)
  t.equal(book.open().length, 1)
  t.equal(book.sweep(), 12 * SECOND - 1)
  pass(1)
  t.equal(book.sweep(), undefined)
  t.same(closed, ['1 unanswered'])
  t.equal(book.answer(1, 'once'), undefined)
  t.match(book.ask(asked(), String), { kind: 'wait', question: { id: 2 } }, 'and an id is never used again')
})

t.test('what was answered is not answered again', async (t) => {
  const { book, kind } = openBook()
  kind()
  t.ok(book.answer(1, 'no'))
  for (const answer of ['once', 'hour', 'no'] as const) t.equal(book.answer(1, answer), undefined)
  t.equal(kind(), 'refused')
  t.equal(book.answer(99, 'once'), undefined)
})

t.test('a yes counts again if Prefect has not had the request', async (t) => {
  const { book, ask, kind, pass } = openBook()
  kind()
  book.answer(1, 'once')
  pass(9 * MINUTE)
  const verdict = ask()
  if (verdict.kind !== 'pass' || verdict.claimed === undefined) throw new Error('it does not pass')
  book.giveBack(verdict.claimed)
  t.equal(kind(), 'pass')
  book.giveBack(verdict.claimed)
  pass(MINUTE)
  t.equal(kind(), 'wait', 'but not for longer')
})

t.test('a yes that comes back does not answer the same request that waits', async (t) => {
  const { book, ask, kind } = openBook()
  kind()
  book.answer(1, 'once')
  const verdict = ask()
  t.equal(kind(), 'wait')
  if (verdict.kind === 'pass' && verdict.claimed) book.giveBack(verdict.claimed)
  t.equal(kind(), 'wait')
})

t.test('questions are capped for each token and in all', async (t) => {
  const { book, kind, ask } = openBook({ perToken: 2, total: 3 })
  kind({ digest: 'a' })
  kind({ digest: 'b' })
  t.match(ask({ digest: 'c' }), { kind: 'full', whose: 'token' })
  t.equal(kind({ digest: 'a' }), 'wait', 'what is asked already still waits')
  const other = { token: { id: 't2', name: 'other' } }
  kind({ ...other, digest: 'a' })
  t.match(ask({ ...other, digest: 'b' }), { kind: 'full', whose: 'all' })
  book.answer(1, 'no')
  t.equal(kind({ ...other, digest: 'b' }), 'wait', 'an answered question makes room')
})

t.test('answers that nobody comes for are capped, too', async (t) => {
  const { book, kind } = openBook({ total: 3 })
  for (let at = 1; at <= 10; at += 1) {
    kind({ digest: `d${at}` })
    book.answer(at, 'no')
  }
  t.equal(kind({ digest: 'd10' }), 'refused')
  t.equal(kind({ digest: 'd1' }), 'wait', 'the oldest is forgotten, and asked about again')
})

/** Random histories against the simplest account of them: each pass needs a yes of its own, young enough, for this request. */
t.test('no history lets a request pass without a yes of its own', async () => {
  const request = fc.record({
    token: fc.constantFrom('t1', 't2'),
    digest: fc.constantFrom('d1', 'd2'),
    operation: fc.constantFrom('POST /a', 'POST /b'),
  })
  const command = fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('ask' as const), request }) },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('answer' as const),
        back: fc.integer({ min: 0, max: 5 }),
        answer: fc.constantFrom('once' as const, 'once' as const, 'hour' as const, 'no' as const),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('give back' as const) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('pass' as const),
        ms: fc.constantFrom(SECOND, 5 * SECOND, 7 * SECOND, 9 * MINUTE, 11 * MINUTE, HOUR),
      }),
    },
  )
  fc.assert(
    fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
      const { book, ask, pass } = openBook()
      let now = 0
      /** By request and by kind: until when. */
      const yes = new Map<string, number>()
      const hours = new Map<string, number>()
      const askedFor = new Map<number, { readonly name: string; readonly sort: string }>()
      const claims: Parameters<typeof book.giveBack>[0][] = []
      for (const one of commands) {
        if (one.kind === 'pass') {
          now += one.ms
          pass(one.ms)
        } else if (one.kind === 'ask') {
          const { token, digest, operation } = one.request
          const name = `${token} ${operation} ${digest}`
          const sort = `${token} ${operation}`
          const verdict = ask({ token: { id: token, name: token }, digest, operation })
          if (verdict.kind === 'wait') askedFor.set(verdict.question.id, { name, sort })
          if (verdict.kind !== 'pass') continue
          if (verdict.claimed === undefined) assert.ok((hours.get(sort) ?? 0) > now, 'within the hour')
          else {
            assert.ok((yes.get(name) ?? 0) > now, 'a yes of its own, in time')
            yes.delete(name)
            claims.push(verdict.claimed)
          }
        } else if (one.kind === 'give back') {
          const claim = claims.pop()
          if (claim === undefined) continue
          const { token, operation, digest } = claim.question
          book.giveBack(claim)
          yes.set(`${token.id} ${operation} ${digest}`, claim.answeredAt + 10 * MINUTE)
        } else {
          const id = Math.max(0, ...askedFor.keys()) - one.back
          const question = askedFor.get(id)
          const done = book.answer(id, one.answer)
          if (done === undefined || question === undefined) continue
          if (one.answer === 'once') yes.set(question.name, now + 10 * MINUTE)
          if (one.answer === 'hour') hours.set(question.sort, now + HOUR)
        }
      }
    }),
    { numRuns: 500 },
  )
})
