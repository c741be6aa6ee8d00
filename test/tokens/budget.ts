/** Budgets: never more than so many in any hour or minute, over restarts and whatever happens to the clock. */
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { openState } from '../../src/daemon/state.js'
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { createTokens } from '../../src/tokens/issue.js'
import type { Budget } from '../../src/tokens/tokens.js'
import { createManualClock } from '../fixtures/manual-clock.js'

const WANTED = { name: 'agent', power: 'proxy', profiles: ['cloud'], lifeMs: 24 * HOUR_MS } as const

async function setStage(t: Test, budget: Budget) {
  const stateDir = t.testdir()
  const clock = createManualClock()
  const open = async () => {
    const state = await openState({ stateDir, clock, log: silentLog() })
    return createTokens({
      document: state.tokens,
      clock,
      randomToken: () => randomBytes(32).toString('base64url'),
      newId: () => randomBytes(6).toString('hex'),
    })
  }
  const tokens = await open()
  const { facts } = await tokens.create({ ...WANTED, budget })
  return { clock, tokens, open, id: facts.id }
}

t.test('refuses what is over it, says until when, and forgets what is long ago', async (t) => {
  const { clock, tokens, id } = await setStage(t, { writesPerHour: 2 })
  tokens.spend(id, true)
  clock.pass(30 * MINUTE_MS)
  tokens.spend(id, true)
  for (let read = 0; read < 500; read += 1) tokens.spend(id, false)
  t.throws(() => tokens.spend(id, true), {
    code: 'budget_spent',
    message: "token 'agent' has used up its budget of 2 writes in an hour",
    hint: `prefect-auth token show ${id}`,
  })
  t.match(tokens.list()[0], { used: { writes: 2, requests: 501 } })
  const retryAt = retryAtOf(() => tokens.spend(id, true))
  t.ok(retryAt - clock.now() >= 30 * MINUTE_MS && retryAt - clock.now() <= 31 * MINUTE_MS, String(retryAt))
  clock.pass(retryAt - clock.now() - 1)
  t.throws(() => tokens.spend(id, true), { code: 'budget_spent' })
  clock.pass(1)
  tokens.spend(id, true)
  t.throws(() => tokens.spend(id, true), { code: 'budget_spent' }, 'one place, and no more')
})

t.test('what is taken back can be spent again, once', async (t) => {
  const { tokens, id } = await setStage(t, { requestsPerMinute: 1 })
  const takeBack = tokens.spend(id, false)
  takeBack()
  tokens.spend(id, false)
  t.throws(() => tokens.spend(id, false), /budget of 1 request in a minute/)
})

t.test('a token without a budget is not counted, nor is one that is gone', async (t) => {
  const { tokens } = await setStage(t, { writesPerHour: 1 })
  const { facts } = await tokens.create(WANTED)
  for (const id of [facts.id, 'gone']) for (let turn = 0; turn < 3; turn += 1) tokens.spend(id, true)
  t.notOk('used' in (tokens.list().find(({ id }) => id === facts.id) ?? {}))
})

t.test(
  'an end of the daemon does not give the writes back; a crash gives back the last minutes at most',
  async (t) => {
    const { clock, tokens, open, id } = await setStage(t, { writesPerHour: 3, requestsPerMinute: 100 })
    for (let turn = 0; turn < 2; turn += 1) tokens.spend(id, true)
    clock.pass(2 * MINUTE_MS)
    await tokens.age(30 * SECOND_MS)
    const killed = await open()
    t.match(killed.list()[0], { used: { writes: 2, requests: 0 } })
    killed.spend(id, true)
    await killed.close()
    clock.pass(10 * MINUTE_MS)
    const after = await open()
    t.throws(() => after.spend(id, true), { code: 'budget_spent' })
    t.notMatch(after.recognise('x'), { writes: [] })
    clock.pass(51 * MINUTE_MS)
    after.spend(id, true)
  },
)

t.test('a wall clock that is set back leaves nobody without a budget for longer', async (t) => {
  const { clock, tokens, open, id } = await setStage(t, { writesPerHour: 1 })
  tokens.spend(id, true)
  await tokens.close()
  clock.setWall(clock.now() - 90 * 24 * HOUR_MS)
  const after = await open()
  t.throws(() => after.spend(id, true), { code: 'budget_spent' })
  clock.pass(HOUR_MS + MINUTE_MS)
  after.spend(id, true)
})

t.test('whatever comes when: in no hour and no minute are there more', async (t) => {
  const act = fc.record({
    pauseMs: fc.integer({ min: 0, max: 20 * MINUTE_MS }),
    isWrite: fc.boolean(),
    isTakenBack: fc.boolean(),
    isRestart: fc.integer({ min: 0, max: 9 }).map((one) => one === 0),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 40 }), fc.integer({ min: 1, max: 5 }), async (acts, most) => {
      const { clock, tokens: first, open, id } = await setStage(t, { writesPerHour: most })
      let tokens = first
      const at: number[] = []
      for (const { pauseMs, isWrite, isTakenBack, isRestart } of acts) {
        clock.pass(pauseMs)
        if (isRestart) {
          await tokens.close()
          tokens = await open()
        }
        try {
          const takeBack = tokens.spend(id, isWrite)
          if (isTakenBack) takeBack()
          else if (isWrite) at.push(clock.now())
        } catch {}
      }
      return at.every((from) => at.filter((one) => one >= from && one < from + HOUR_MS).length <= most)
    }),
    { numRuns: 25 },
  )
})

t.test(
  'an older version does not accept such a token, and a number that is none sets it aside',
  async (t) => {
    const { tokens, id } = await setStage(t, { requestsPerMinute: 1 })
    t.match(tokens.list(), [{ id, budget: { requestsPerMinute: 1 } }])
    await t.rejects(tokens.create({ ...WANTED, power: 'use', budget: { writesPerHour: 1 } }), {
      code: 'bad_request',
    })
  },
)

function retryAtOf(run: () => unknown): number {
  try {
    run()
  } catch (error) {
    if (error instanceof Error && 'retryAt' in error) return Number(error.retryAt)
  }
  throw new Error('nothing was thrown')
}
