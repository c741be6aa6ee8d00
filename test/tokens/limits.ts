/** Tokens with a policy or questions: durable, never widened by an older version, with a count of what they were refused. */
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { openState } from '../../src/daemon/state.js'
import { siftRecords } from '../../src/os/records.js'
import { DAY_MS, MINUTE_MS } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { createTokens } from '../../src/tokens/issue.js'
import { createManualClock } from '../fixtures/manual-clock.js'

const RUN = 'POST /deployments/{id}/create_flow_run'
const POLICY = { may: 'read', allow: [RUN], deny: ['POST /logs/filter'] } as const
const WANTED = { name: 'dashboard', power: 'proxy', profiles: ['cloud'], lifeMs: DAY_MS } as const

async function setStage(t: Test) {
  const stateDir = t.testdir()
  const clock = createManualClock()
  const openAll = async () => {
    const state = await openState({ stateDir, clock, log: silentLog() })
    const tokens = createTokens({
      document: state.tokens,
      clock,
      randomToken: () => randomBytes(32).toString('base64url'),
      newId: () => randomBytes(6).toString('hex'),
    })
    return { tokens, notices: state.notices }
  }
  const file = join(stateDir, 'tokens.json')
  return { clock, ...(await openAll()), openAll, file, onDisk: () => JSON.parse(readFileSync(file, 'utf8')) }
}

t.test('a policy and questions last as long as the token, whoever made it', async (t) => {
  const { tokens, openAll } = await setStage(t)
  const limits = { policy: POLICY, ask: 'write' } as const
  const timed = await tokens.create({ ...WANTED, ...limits })
  const job = await tokens.createForJob({ name: 'job', profile: 'cloud', ...limits, needsTicket: true })
  const free = await tokens.create(WANTED)
  for (const now of [tokens, (await openAll()).tokens]) {
    for (const { token } of [timed, job])
      t.match(now.recognise(token), { power: 'proxy', policy: POLICY, ask: 'write' })
    t.match(now.recogniseTicket(job.ticket ?? ''), { policy: POLICY }, 'for its ticket as well')
    t.notMatch(now.recognise(free.token), { policy: {} })
    t.notOk('policy' in (now.recognise(free.token) ?? {}), 'without one, nothing is looked at')
    t.match(now.list()[0], { power: 'proxy', policy: POLICY, ask: 'write' })
  }
})

t.test('only what goes through the proxy can be limited', async (t) => {
  const { tokens } = await setStage(t)
  for (const power of ['use', 'inspect'] as const) {
    await t.rejects(tokens.create({ ...WANTED, power, policy: POLICY }), { code: 'bad_request' })
    await t.rejects(tokens.create({ ...WANTED, power, ask: 'all' }), { code: 'bad_request' })
  }
  t.same(tokens.list(), [])
})

t.test('a version from before policies keeps such a token and does not accept it', async (t) => {
  const { tokens, onDisk, file, openAll } = await setStage(t)
  const limited = await tokens.create({ ...WANTED, policy: POLICY })
  const asking = await tokens.create({ ...WANTED, ask: 'all' })
  const free = await tokens.create(WANTED)
  // As it was then.
  const schema = z.looseObject({ id: z.string(), power: z.enum(['inspect', 'proxy', 'use']) })
  const { known, aside } = siftRecords(onDisk(), { tokens: { schema } })
  t.match(known.tokens, { length: 1, 0: { id: free.facts.id } })
  t.match(aside.tokens, [
    { id: limited.facts.id, policy: POLICY },
    { id: asking.facts.id, ask: 'all' },
  ])
  // It writes its own list, with those that it did not understand word for word.
  writeFileSync(file, JSON.stringify({ ...known, unknown: aside }))
  const again = await openAll()
  t.match(again.tokens.recognise(limited.token), { policy: POLICY }, 'after the next upgrade it is back')
  t.match(again.tokens.recognise(asking.token), { ask: 'all' })
})

const ODD = [
  ['a policy that it does not know', { policy: { may: 'audit' } }],
  ['a limit that it does not know', { policy: { ...POLICY, only: ['etl'] } }],
  ['questions that it does not know', { ask: 'twice' }],
  ['limits that are gone', { policy: undefined }],
  ['limits on another power', { power: 'use' }],
  ['limits on the plain power', { power: 'proxy' }],
] as const

for (const [what, change] of ODD) {
  t.test(`a token with ${what} is kept and not accepted`, async (t) => {
    const { tokens, onDisk, file, openAll } = await setStage(t)
    const { token, facts } = await tokens.create({ ...WANTED, policy: POLICY })
    const list = onDisk()
    Object.assign(list.tokens[0], change)
    writeFileSync(file, JSON.stringify(list))
    const again = await openAll()
    t.equal(again.tokens.recognise(token), undefined)
    t.match(again.notices[0], `does not understand tokens '${facts.id}'`)
    await again.tokens.create(WANTED)
    t.match(onDisk().unknown.tokens, [{ id: facts.id, name: 'dashboard' }])
  })
}

t.test('counts what a token was refused, the newest first, and survives a restart', async (t) => {
  const { tokens, clock, openAll } = await setStage(t)
  const { facts } = await tokens.create({ ...WANTED, policy: POLICY })
  const { id } = facts
  tokens.noteRefused(id, RUN, 'policy')
  tokens.noteRefused(id, 'POST /bots', 'proxy')
  clock.pass(1_000)
  tokens.noteRefused(id, RUN, 'policy')
  tokens.noteRefused('somebody', RUN, 'policy')
  const expected = [
    { operation: RUN, count: 2, at: clock.now(), by: 'policy' },
    { operation: 'POST /bots', count: 1, at: clock.now() - 1_000, by: 'proxy' },
  ]
  t.strictSame(tokens.list()[0]?.refused, expected)
  t.equal((await openAll()).tokens.list()[0]?.refused, undefined, 'not yet')
  await tokens.close()
  const next = await openAll()
  t.strictSame(next.tokens.list()[0]?.refused, expected)
  next.tokens.noteRefused(id, RUN, 'policy')
  t.match(next.tokens.list()[0]?.refused, [{ operation: RUN, count: 3 }, { count: 1 }], 'and goes on')
})

t.test('writes what was refused once a minute at most, and after a kill a minute is lost', async (t) => {
  const { tokens, clock, openAll, onDisk } = await setStage(t)
  const { facts } = await tokens.create({ ...WANTED, policy: POLICY })
  const saved = async () => (await openAll()).tokens.list()[0]?.refused
  const seqAfter = async (ms: number) => {
    clock.pass(ms)
    await tokens.age(ms)
    return onDisk().seq
  }
  const before = await seqAfter(10 * MINUTE_MS)
  tokens.noteRefused(facts.id, RUN, 'policy')
  t.equal(await seqAfter(0), before + 1)
  t.match(await saved(), [{ count: 1 }])
  tokens.noteRefused(facts.id, RUN, 'policy')
  t.equal(await seqAfter(MINUTE_MS / 2), before + 1, 'not again')
  t.equal(await seqAfter(MINUTE_MS / 2), before + 2)
  t.match(await saved(), [{ count: 2 }])
  t.equal(await seqAfter(10 * MINUTE_MS), before + 2, 'and nothing if nothing was refused')
})

t.test('a token that tries everything fills neither memory nor disk', async (t) => {
  const { tokens, onDisk } = await setStage(t)
  const { facts } = await tokens.create({ ...WANTED, policy: POLICY })
  for (let at = 0; at < 100; at += 1) tokens.noteRefused(facts.id, `POST /x${at}`, 'policy')
  t.equal(tokens.list()[0]?.refused?.length, 30)
  t.equal(tokens.list()[0]?.refused?.[0]?.operation, 'POST /x99')
  await tokens.close()
  t.equal(onDisk().tokens[0].refused.length, 30)
  tokens.noteRefused(facts.id, 'POST /y', 'policy')
  await tokens.revoke(facts.id)
  await tokens.close()
  t.same(onDisk().tokens, [])
})

t.test('a count that is not understood does not end the token', async (t) => {
  const { tokens, onDisk, file, openAll } = await setStage(t)
  const { token } = await tokens.create({ ...WANTED, policy: POLICY })
  const list = onDisk()
  Object.assign(list.tokens[0], { refused: [{ operation: 'x', often: 3 }] })
  writeFileSync(file, JSON.stringify(list))
  const again = await openAll()
  t.match(again.tokens.recognise(token), { policy: POLICY })
  t.same(again.notices, [])
})
