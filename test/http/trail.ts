/** The audit trail of requests: repeated hand-outs and refusals become counted lines, and none is lost. */
import { Socket } from 'node:net'
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { createTrail } from '../../src/http/trail.js'
import type { Caller } from '../../src/tokens/access.js'
import { createManualClock } from '../fixtures/manual-clock.js'
import { memoryAudit, memoryLog } from '../fixtures/memory-parts.js'

const REQUEST = { headers: { 'user-agent': 'curl/8' } }
const OWNER: Caller = { door: 'socket' }
const job = (id: string): Caller => ({
  door: 'tcp',
  token: { id, name: `job ${id}`, power: 'use', profiles: ['*'] },
})
const FACTS = { profile: 'cloud', fingerprint: 'sha256:1f2e3d4c5b6a' }

function start() {
  const clock = createManualClock()
  const audit = memoryAudit(clock)
  return { clock, entries: audit.entries, trail: createTrail({ audit, clock, log: memoryLog() }) }
}

t.test('writes the first hand-out of a token at once, and the rest of the minute as a count', async (t) => {
  const { clock, entries, trail } = start()
  for (let count = 0; count < 1_000; count += 1) trail.given(REQUEST, job('a'), 'credentials', FACTS)
  t.match(entries, [{ action: 'credentials', tokenId: 'a', ...FACTS }])
  t.equal(entries.length, 1)
  trail.given(REQUEST, job('b'), 'credentials', FACTS)
  trail.given(REQUEST, job('a'), 'env', FACTS)
  trail.given(REQUEST, job('a'), 'credentials', { ...FACTS, fingerprint: 'sha256:ffffffffffff' })
  t.equal(entries.length, 4, 'another token, another way, another key: each has its own first line')
  clock.pass(60_000)
  t.equal(entries.length, 5)
  t.match(entries[4], { action: 'credentials', tokenId: 'a', count: 999, ...FACTS })
  trail.given(REQUEST, job('a'), 'credentials', FACTS)
  t.equal(entries.length, 6, 'the next minute begins with a line')
})

t.test(
  'never merges what creates something, and gives the owner a line for each command of a burst',
  async (t) => {
    const { entries, trail } = start()
    for (let count = 0; count < 5; count += 1) trail.given(REQUEST, OWNER, 'token_created', {})
    t.equal(entries.length, 5)
    for (let count = 0; count < 100; count += 1) trail.given(REQUEST, OWNER, 'env', FACTS)
    t.equal(entries.length, 35)
    trail.close()
    t.match(entries.at(-1), { action: 'env', door: 'socket', count: 70 })
  },
)

t.test('counts every refusal beyond the rate, by reason, listener and token', async (t) => {
  const { clock, entries, trail } = start()
  const refuse = (many: number, code: 'token_required' | 'power_missing', caller?: Caller) => {
    for (let count = 0; count < many; count += 1) {
      trail.refused(REQUEST, caller?.door ?? 'tcp', caller, new BrokerError(code, 'no'))
    }
  }
  refuse(500, 'token_required')
  refuse(40, 'power_missing', job('a'))
  t.equal(entries.length, 30)
  clock.pass(60_000)
  t.match(entries.slice(30), [
    { action: 'refused', code: 'token_required', door: 'tcp', count: 470 },
    { action: 'refused', code: 'power_missing', tokenId: 'a', count: 40 },
  ])
  const total = entries.reduce((sum, { count = 1 }) => sum + count, 0)
  t.equal(total, 540, 'none is lost')
  refuse(100, 'token_required')
  trail.close()
  t.equal(
    entries.reduce((sum, { count = 1 }) => sum + count, 0),
    640,
    'nor at the end',
  )
})

t.test('records who was at the other end once it is known, once for a connection', async (t) => {
  const clock = createManualClock()
  const audit = memoryAudit(clock)
  const asked: unknown[] = []
  const findCaller = async (socket: unknown) => {
    asked.push(socket)
    return 'curl[7] < bash[6]'
  }
  const trail = createTrail({ audit, clock, log: memoryLog(), findCaller })
  const request = { ...REQUEST, socket: new Socket() }
  trail.done(request, OWNER, 'logout', { profile: 'cloud' })
  trail.done(request, OWNER, 'logout', { profile: 'other' })
  t.equal(audit.entries.length, 2, 'the lines are there first')
  await new Promise((resolve) => setImmediate(resolve))
  const [first, second, third] = audit.entries
  t.equal(first?.conn, second?.conn)
  t.match(third, { action: 'caller', door: 'daemon', conn: first?.conn, caller: 'curl[7] < bash[6]' })
  t.equal(asked.length, 1)
})

t.test('a flood of connections does not become a flood of questions', async (t) => {
  const clock = createManualClock()
  const audit = memoryAudit(clock)
  let asked = 0
  const findCaller = () => {
    asked += 1
    return new Promise<undefined>(() => undefined)
  }
  const trail = createTrail({ audit, clock, log: memoryLog(), findCaller })
  for (let count = 0; count < 1_000; count += 1) {
    trail.done({ ...REQUEST, socket: new Socket() }, OWNER, 'logout', {})
  }
  t.equal(asked, 1, 'one at a time')
  t.equal(audit.entries.length, 1_000)
})
