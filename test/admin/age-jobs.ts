import t from 'tap'
import { AWAY_MS, createJobMinder } from '../../src/admin/age-jobs.js'
import { BrokerError } from '../../src/base/errors.js'
import { createTokens } from '../../src/tokens/issue.js'
import type { TokenList } from '../../src/tokens/records.js'
import { createFakeBroker } from '../fixtures/fake-broker.js'
import { createManualClock } from '../fixtures/manual-clock.js'
import { memoryDocument } from '../fixtures/memory-parts.js'

const MINUTE = 60_000

async function setStage() {
  const clock = createManualClock()
  const { deps, audit } = createFakeBroker(clock)
  const away = new Set<string>()
  const file: { state: 'good' | 'invalid' } = { state: 'good' }
  const { credentials } = deps
  let made = 0
  const tokens = createTokens({
    document: memoryDocument<TokenList>({ tokens: [] }),
    clock,
    randomToken: () => String(++made).padStart(43, '0'),
    newId: () => `tok${made}`,
  })
  const mind = createJobMinder({
    ...{ tokens, clock, audit: deps.audit, log: deps.log },
    credentials: {
      state(name = '') {
        if (away.has(name)) throw new BrokerError('profile_not_found', 'there is no such profile')
        return credentials.state('cloud')
      },
      reading: () => ({ ...credentials.reading(), ...file }),
    },
  })
  const look = () => mind(0)
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= MINUTE) {
      clock.pass(Math.min(left, MINUTE))
      await look()
    }
  }
  const job = async (profile: string) => (await tokens.createForJob({ name: 'a job', profile })).token
  const isAlive = (token: string) => tokens.recognise(token) !== undefined
  await look()
  return { tokens, away, file, look, pass, job, isAlive, audit }
}

t.test('revokes the token of a job ten minutes after its profile is gone', async (t) => {
  const { away, look, pass, job, isAlive, audit } = await setStage()
  const [orphan, other] = [await job('gone'), await job('cloud')]
  away.add('gone')
  await look()
  await pass(AWAY_MS - MINUTE)
  t.ok(isAlive(orphan))
  await pass(MINUTE)
  t.notOk(isAlive(orphan))
  t.ok(isAlive(other))
  t.match(audit.at(-1), { action: 'token_revoked', door: 'daemon', profile: 'gone', tokenName: 'a job' })
})

t.test('revokes nothing if the profile comes back in time, or while the file cannot be read', async (t) => {
  const { away, file, look, pass, job, isAlive } = await setStage()
  const token = await job('edited')
  away.add('edited')
  await look()
  await pass(AWAY_MS - MINUTE)
  away.clear()
  await look()
  away.add('edited')
  await look()
  await pass(AWAY_MS - MINUTE)
  t.ok(isAlive(token), 'the time starts again')
  file.state = 'invalid'
  await pass(2 * AWAY_MS)
  t.ok(isAlive(token))
  file.state = 'good'
  await look()
  await pass(AWAY_MS)
  t.notOk(isAlive(token))
})

t.test('leaves tokens made by hand alone', async (t) => {
  const { tokens, away, look, pass } = await setStage()
  const lifeMs = 10 * AWAY_MS
  const byHand = await tokens.create({ name: 'box', power: 'proxy', profiles: ['gone'], lifeMs })
  const forAll = await tokens.create({ name: 'all', power: 'proxy', profiles: ['*'], lifeMs })
  away.add('gone')
  await look()
  await pass(2 * AWAY_MS)
  t.same(
    tokens.list().map(({ id }) => id),
    [byHand.facts.id, forAll.facts.id],
  )
})
