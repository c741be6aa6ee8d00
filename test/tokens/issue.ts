/** Tokens over their lives: issued, recognised, aged, revoked, and only their hashes on disk. */

import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openState } from '../../src/daemon/state.js'
import { DAY_MS } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { createTokens } from '../../src/tokens/issue.js'
import type { TokenList } from '../../src/tokens/records.js'
import { createManualClock } from '../fixtures/manual-clock.js'

async function setStage(t: Test, running: { isThere?: boolean } = {}) {
  const stateDir = t.testdir()
  const clock = createManualClock()
  const open = async () =>
    createTokens({
      document: (await openState({ stateDir, clock, log: silentLog() })).tokens,
      clock,
      randomToken: () => randomBytes(32).toString('base64url'),
      newId: () => randomBytes(6).toString('hex'),
      identifyProcess: async () => (running.isThere ? 'worker' : undefined),
    })
  return { clock, tokens: await open(), open, file: join(stateDir, 'tokens.json') }
}

const WANTED = { name: 'ci', power: 'use', profiles: ['cloud'], lifeMs: DAY_MS } as const

t.test('shows a token once and stores only its hash', async (t) => {
  const { tokens, file, open } = await setStage(t)
  const { facts, token } = await tokens.create(WANTED)
  t.match(token, /^pab_[A-Za-z0-9_-]{43}$/)
  t.match(tokens.recognise(token), { id: facts.id, name: 'ci', power: 'use', profiles: ['cloud'] })
  const text = readFileSync(file, 'utf8')
  t.notMatch(text, token)
  t.notMatch(text, token.slice(4))
  t.match(text, createHash('sha256').update(token).digest('hex'))
  t.notMatch(JSON.stringify(tokens.list()), /hash|pab_/)
  t.match((await open()).recognise(token), { id: facts.id }, 'after a restart as well')
})

t.test('refuses an expired or revoked token at once and permanently', async (t) => {
  const { tokens, clock, open } = await setStage(t)
  const short = await tokens.create({ ...WANTED, lifeMs: 1_000 })
  const long = await tokens.create(WANTED)
  clock.pass(999)
  t.ok(tokens.recognise(short.token))
  clock.pass(1)
  t.equal(tokens.recognise(short.token), undefined)
  t.strictSame(
    tokens.list().map(({ id }) => id),
    [long.facts.id],
  )
  await tokens.revoke(short.facts.id)
  await tokens.revoke(long.facts.id)
  t.equal(tokens.recognise(long.token), undefined)
  t.equal((await open()).recognise(long.token), undefined)
  await t.rejects(tokens.revoke(long.facts.id), { code: 'token_not_found' })
})

t.test('does not recognise other text, altered tokens or hashes', async (t) => {
  const { tokens } = await setStage(t)
  const { token } = await tokens.create(WANTED)
  const last = token.endsWith('A') ? 'B' : 'A'
  const rows = ['', 'pab_', token.slice(0, -1), `${token}A`, token.slice(0, -1) + last, token.toUpperCase()]
  const more = [
    ` ${token}`,
    createHash('sha256').update(token).digest('hex'),
    `pnu_${token.slice(4)}`,
    '__proto__',
  ]
  for (const text of [...rows, ...more]) t.equal(tokens.recognise(text), undefined, JSON.stringify(text))
})

t.test('reports the last use to the minute', async (t) => {
  const { tokens, clock } = await setStage(t)
  const { token, facts } = await tokens.create(WANTED)
  t.equal(facts.lastUsedAt, undefined)
  clock.pass(90_000)
  tokens.recognise(token)
  t.equal(tokens.list()[0]?.lastUsedAt, Math.floor(clock.now() / 60_000) * 60_000)
})

t.test('erases no token because of a clock that is ahead', async (t) => {
  for (const ahead of [DAY_MS, 365 * DAY_MS]) {
    const { tokens, clock, open } = await setStage(t)
    const { token, facts } = await tokens.create(WANTED)
    const doomed = await tokens.create(WANTED)
    clock.sleep(ahead)
    t.equal(tokens.recognise(token), undefined, 'it counts as expired')
    await tokens.create(WANTED)
    await tokens.createForJob({ name: 'worker', profile: 'cloud' })
    await tokens.revoke(doomed.facts.id)
    await tokens.age(1000)
    await tokens.close()
    const next = await open()
    await next.resume()
    clock.sleep(-ahead)
    t.match(next.recognise(token), { id: facts.id }, 'until the clock is right again')
    t.equal(next.recognise(doomed.token), undefined, 'but for those that were revoked')
  }
})

t.test('the list of expired tokens does not grow without end', async (t) => {
  let list: TokenList = { tokens: [] }
  const clock = createManualClock()
  const tokens = createTokens({
    document: {
      read: () => list,
      async update(change) {
        list = change(list)
        return list
      },
      async note(change) {
        list = change(list)
        return true
      },
    },
    clock,
    randomToken: () => randomBytes(32).toString('base64url'),
    newId: () => randomBytes(6).toString('hex'),
  })
  for (let index = 0; index < 1010; index += 1) await tokens.create({ ...WANTED, lifeMs: 1_000 + index })
  clock.pass(DAY_MS / 2)
  const { facts } = await tokens.create(WANTED)
  t.equal(list.tokens.length, 1001)
  t.ok(list.tokens.some(({ id }) => id === facts.id))
  t.equal(Math.min(...list.tokens.map(({ expiresAt, createdAt }) => expiresAt - createdAt)), 1_010)
})

t.test('keeps the age and the use of a job token across a restart', async (t) => {
  const { tokens, open } = await setStage(t)
  const job = { name: 'worker', profile: 'cloud' }
  const [used, unused] = [await tokens.createForJob(job), await tokens.createForJob(job)]
  await tokens.age(13 * DAY_MS)
  t.ok(tokens.recognise(used.token))
  await tokens.close()
  const next = await open()
  await next.age(2 * DAY_MS)
  t.ok(next.recognise(used.token), 'used a moment ago in time awake')
  t.equal(next.recognise(unused.token), undefined, 'not used for fifteen days')
})

t.test('expires the token of a dead job even if the daemon exits before every tick', async (t) => {
  const running = { isThere: true }
  const { tokens, open, clock } = await setStage(t, running)
  const { token } = await tokens.createForJob({ name: 'worker', profile: 'cloud', pid: 4242 })
  running.isThere = false
  let now = tokens
  for (let hours = 0; hours < 23; hours += 1) {
    clock.pass(10_000)
    await now.close()
    clock.pass(3_590_000)
    now = await open()
    await now.resume()
  }
  t.equal(now.list().length, 1, 'younger than a day')
  clock.pass(10_000)
  await now.close()
  clock.pass(30 * DAY_MS)
  now = await open()
  await now.resume()
  t.equal(now.recognise(token), undefined, 'a month with the machine off counts as one more hour')
})

t.test('does not count a month with the machine off as unused', async (t) => {
  const { tokens, open, clock } = await setStage(t)
  const { token } = await tokens.createForJob({ name: 'worker', profile: 'cloud' })
  await tokens.close()
  clock.pass(30 * DAY_MS)
  const next = await open()
  await next.resume()
  t.ok(next.recognise(token))
})

t.test(
  'while the disk fails a job gets a token that ends with the daemon; other changes are refused',
  async (t) => {
    const stateDir = t.testdir()
    const clock = createManualClock()
    const disk = { isFull: false }
    const lock = {
      permit() {
        if (disk.isFull) throw Object.assign(new Error('full'), { code: 'ENOSPC' })
      },
      retry: async () => false,
    }
    const state = await openState({ stateDir, clock, log: silentLog(), lock })
    const parts = {
      clock,
      randomToken: () => randomBytes(32).toString('base64url'),
      newId: () => randomBytes(6).toString('hex'),
    }
    const tokens = createTokens({ ...parts, document: state.tokens })
    const timed = await tokens.create(WANTED)
    t.equal(timed.isDurable, true)

    disk.isFull = true
    const job = await tokens.createForJob({ name: 'a job', profile: 'cloud' })
    t.equal(job.isDurable, false)
    t.ok(tokens.recognise(job.token), 'it works')
    await t.rejects(tokens.create(WANTED), { code: 'disk_failed' })
    await tokens.age(2 * DAY_MS)
    await t.rejects(tokens.revoke(timed.facts.id), {
      code: 'disk_failed',
      message: /is revoked, but .* could not be written/,
    })
    t.equal(tokens.recognise(timed.token), undefined, 'a revoked token is refused at once')
    const reopened = async () => {
      const { tokens: document } = await openState({ stateDir, clock, log: silentLog() })
      return createTokens({ ...parts, document })
    }
    t.equal((await reopened()).recognise(job.token), undefined)

    disk.isFull = false
    await state.retry()
    const again = await reopened()
    t.ok(again.recognise(job.token), 'once the disk works, it outlives the daemon')
    t.equal(again.recognise(timed.token), undefined)
  },
)
