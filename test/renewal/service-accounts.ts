import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { createTurns } from '../../src/keys/turns.js'
import { createServiceAccountAdmin } from '../../src/renewal/service-accounts.js'
import { silentLog } from '../../src/std/log.js'
import { makeRoot, openBroker, type TestBroker } from '../fixtures/broker.js'

const DAY = 86_400_000

async function setStage(t: Test) {
  const sim = await startCloudSimulator({ bots: [{ name: 'ci', account: 'prefect' }] })
  const root = await makeRoot(t)
  const open: TestBroker[] = []
  const openOne = async () => {
    const broker = await openBroker({ root, sim })
    open.push(broker)
    return { broker, admin: adminOf(broker) }
  }
  t.after(async () => {
    for (const one of open) await one.close()
    await sim.close()
  })
  const { broker, admin } = await openOne()
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  const old = sim.issueBotKey({ bot: 'ci', expiresAt: sim.clock.now() + 90 * DAY })
  await broker.logins.keep(await broker.delivery(old, { profile: 'ci', via: 'pasted', isToBeActive: false }))
  return { sim, broker, admin, old, reopen: openOne }
}

function adminOf(broker: TestBroker) {
  const { credentials, keeper, vault, botCloud: cloud, changes, journal, events, times } = broker
  return createServiceAccountAdmin({
    turns: createTurns(),
    ...{ credentials, keeper, vault, cloud, changes, journal, events, times, log: silentLog() },
    newId: () => `bot${Math.random().toString(16).slice(2)}`,
  })
}

t.test(
  "rotates the key of a service account with an owner's key, for the profile that uses it",
  async (t) => {
    const { sim, broker, admin, old } = await setStage(t)
    const { key, oldKeyExpiresAt } = await admin.rotate({ profile: 'ci', name: 'ci' })
    const served = broker.served('ci') ?? ''
    t.not(served, old)
    t.match(served, /^pnb_/)
    t.ok(sim.keys.authenticate(served), 'it works')
    t.ok(sim.keys.authenticate(old), 'and the old one does, for a day')
    t.ok(Math.abs(oldKeyExpiresAt - Date.now() - DAY) < 60_000)
    t.match(key, { origin: 'service_account', id: sim.keys.find(served)?.id })
    const life = (key.expiresAt ?? 0) - (key.issuedAt ?? 0)
    t.ok(Math.abs(life - 90 * DAY) < 60_000, 'it lives as long as the one before')
    t.match(broker.keeper.profile('ci').owner, { kind: 'service_account' })
    // What is left to do after the answer is done in its own time.
    for (let looks = 0; looks < 200 && Object.keys(broker.journal.read().entries).length > 0; looks += 1) {
      await pause(25)
    }
    t.strictSame(Object.values(broker.journal.read().entries), [])
  },
)

t.test('a key that would live longer than asked is replaced at once by one that does not', async (t) => {
  const { sim, broker, admin, old } = await setStage(t)
  // What told the time was wrong: only the new key itself tells the truth.
  broker.saboteur.onStep((step) => {
    if (step === 'after cloud.serviceAccounts') broker.time.note(Date.now() + 365 * DAY, Date.now())
  })
  const { key } = await admin.rotate({ profile: 'ci', name: 'ci', expiresInMs: 30 * DAY })
  const served = sim.keys.find(broker.served('ci') ?? '')
  const life = (served?.expiresAt ?? Number.POSITIVE_INFINITY) - (served?.createdAt ?? 0)
  t.ok(life <= 30 * DAY && life > 29 * DAY, `${life / DAY} days`)
  t.equal(key.id, served?.id)
  t.ok(sim.keys.authenticate(old), 'the old one lives for a day')
  const unwanted = sim.keys
    .all()
    .filter(({ name, expiresAt }) => name === 'ci' && (expiresAt ?? 0) > Date.now() + 100 * DAY)
  t.equal(unwanted.length, 1)
  t.ok(
    (unwanted[0]?.rejectedFrom ?? Number.POSITIVE_INFINITY) <= Date.now() + DAY,
    'the unwanted one is over in a day, too',
  )
})

t.test('a service account whose keys always live longer than asked is not given one', async (t) => {
  const { broker, old } = await setStage(t)
  const admin = adminOf({
    ...broker,
    botCloud: {
      ...broker.botCloud,
      async rotateServiceAccountKey(...call) {
        const minted = await broker.botCloud.rotateServiceAccountKey(...call)
        return { ...minted, expiresAt: (minted.expiresAt ?? 0) + 365 * DAY }
      },
    },
  })
  await t.rejects(admin.rotate({ profile: 'ci', name: 'ci', expiresInMs: 30 * DAY }), {
    code: 'prefect_failed',
  })
  t.equal(broker.served('ci'), old)
})

const REFUSALS = [
  ['a name that is not there', { profile: 'ci', name: 'nobody' }, 'prefect_not_found'],
  ["the owner's own profile", { profile: 'cloud', name: 'ci' }, 'owner_mismatch'],
  ['a profile that is not there', { profile: 'nowhere', name: 'ci' }, 'profile_not_found'],
  ["a service account's key that asks", { profile: 'ci', name: 'ci', ownerProfile: 'ci' }, 'owner_mismatch'],
] as const

for (const [name, wanted, code] of REFUSALS) {
  t.test(`${name}: refused, and nothing is rotated`, async (t) => {
    const { sim, broker, admin, old } = await setStage(t)
    await t.rejects(admin.rotate(wanted), { code })
    t.equal(broker.served('ci'), old)
    t.equal(sim.requests.filter(({ path }) => path.endsWith('rotate_api_key')).length, 0)
  })
}

t.test('an answer that is not filtered by name: no other account is rotated', async (t) => {
  const { sim, broker, admin, old } = await setStage(t)
  const { id } = sim.directory.bot('ci')
  const body = [
    { id: '11111111-1111-4111-8111-111111111111', name: 'payroll' },
    { id, name: 'ci' },
  ]
  const list = { method: 'POST', path: /bots\/filter$/ }
  sim.faults.next(list, { kind: 'status', status: 200, body })
  await admin.rotate({ profile: 'ci', name: 'ci' })
  t.not(broker.served('ci'), old)
  sim.faults.next(list, { kind: 'status', status: 200, body: body.slice(0, 1) })
  await t.rejects(admin.rotate({ profile: 'ci', name: 'ci' }), { code: 'prefect_not_found' })
  t.equal(sim.requests.filter(({ path }) => path.includes(body[0]?.id ?? '')).length, 0)
})

t.test('serves a working key after a crash at any step', async (t) => {
  for (let step = 1; step <= 14; step += 1) {
    const { sim, broker, admin, old, reopen } = await setStage(t)
    broker.saboteur.arm(step)
    await admin.rotate({ profile: 'ci', name: 'ci' }).catch(() => undefined)
    const at = `step ${step}: ${broker.saboteur.steps.at(-1)}`
    await broker.close()
    const again = await reopen()
    const warnings: unknown[] = []
    again.broker.events.onEvent(({ type, facts }) => type === 'renewal.warning' && warnings.push(facts.hint))
    await again.admin.recover()
    await again.broker.credentials.settle()
    const served = again.broker.served('ci') ?? ''
    t.ok(sim.keys.authenticate(served), at)
    t.strictSame(Object.keys(again.broker.journal.read().entries), [], `${at}: nothing is left to do`)
    const wasRotated =
      (sim.keys.find(old)?.rejectedFrom ?? Number.POSITIVE_INFINITY) < Number.POSITIVE_INFINITY
    if (wasRotated && broker.saboteur.steps.at(-1) === 'after vault.put') {
      t.not(served, old, `${at}: the key that the vault has is taken into use`)
    }
    if (wasRotated && served === old) {
      t.strictSame(warnings, ['prefect-auth service-account rotate ci --profile ci'], `${at}: and it is said`)
    }
  }
})
