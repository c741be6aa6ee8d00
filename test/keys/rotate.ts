import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Fault, FaultMatcher } from '../../sim/faults/faults.js'
import { type Simulator, type SimulatorOptions, startCloudSimulator } from '../../sim/simulator.js'
import type { ErrorCode } from '../../src/base/errors.js'
import { Secret } from '../../src/std/secret.js'
import { makeRoot, openBroker, type TestBroker } from '../fixtures/broker.js'

const MINT = { method: 'POST', path: /\/api_keys$/ }
const DELETE = { method: 'DELETE', path: /\/api_keys\// }
const WORKSPACES = { path: '/api/me/workspaces' }
const ELSEWHERE = { account_id: 'a1', account_handle: 'eve', workspace_id: 'w1', workspace_handle: 'eve' }

interface Stage {
  readonly sim: Simulator
  readonly broker: TestBroker
  /** The delivered key that is current before the rotation. */
  readonly old: string
  reopen(): Promise<TestBroker>
}

/** A broker that has just accepted a login without exchange. */
async function setStage(t: Test, options: SimulatorOptions = {}): Promise<Stage> {
  const sim = await startCloudSimulator(options)
  const root = await makeRoot(t)
  const open: TestBroker[] = []
  t.after(async () => {
    for (const one of open) await one.close()
    await sim.close()
  })
  const openOne = async () => {
    const broker = await openBroker({ root, sim })
    open.push(broker)
    return broker
  }
  const broker = await openOne()
  const old = sim.issueKey({ name: 'from the browser' })
  await broker.logins.keep(await broker.delivery(old))
  sim.forgetRequests()
  return { sim, broker, old, reopen: openOne }
}

/** Keys that still work at Prefect, besides the delivered one. */
function living({ sim, old }: Stage) {
  return sim.keys.all().filter((key) => key.deletedAt === undefined && sim.keys.find(old)?.id !== key.id)
}

/** Prefect takes its time over the next such request, until it is released. */
function holdNext(sim: Simulator, matcher: FaultMatcher) {
  let release = () => {}
  const until = new Promise<void>((resolve) => {
    release = resolve
  })
  const armed = sim.faults.next(matcher, { kind: 'hold', until })
  return {
    release: () => release(),
    async struck() {
      while (armed.struck === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    },
  }
}

function entries({ journal }: TestBroker) {
  return Object.values(journal.read().entries)
}

t.test('mints, verifies and serves our own key, and keeps the delivered one', async (t) => {
  const stage = await setStage(t)
  const { broker, sim, old } = stage
  const before = broker.credentials.serve('cloud')
  const record = await broker.rotator.rotate('cloud')
  await broker.credentials.settle()
  const served = broker.credentials.serve('cloud')
  t.equal(record.origin, 'minted')
  t.equal(served.key?.fingerprint, record.fingerprint)
  t.equal(sim.keys.find(broker.served() ?? '')?.id, record.cloudId)
  t.equal(served.generation, before.generation + 1)
  t.match(record.name, /^prefect-auth laptop\.example cloud [0-9a-f]{12}$/)
  t.strictSame(entries(broker), [])
  t.equal(sim.keys.find(old)?.deletedAt, undefined, 'its id is not known: it is left to expire')
  t.equal(sim.requests.filter(({ method }) => method === 'POST').length, 1)
})

t.test('deletes a minted key that was never handed out at once, and leaves one that was', async (t) => {
  for (const isHandedOut of [false, true]) {
    const stage = await setStage(t)
    const { broker, sim } = stage
    const first = await broker.rotator.rotate('cloud')
    await broker.credentials.settle()
    if (isHandedOut) await broker.credentials.markHandedOut(broker.credentials.serve('cloud'))
    await broker.rotator.rotate('cloud')
    const found = sim.keys.all().find(({ id }) => id === first.cloudId)
    t.equal(found?.deletedAt !== undefined, !isHandedOut)
    t.equal(broker.keeper.ledger().keys[first.item] === undefined, !isHandedOut)
  }
})

interface Row {
  readonly name: string
  readonly fault: Fault
  readonly code: ErrorCode
  /** Whether a key may live on at Prefect, and the journal names it. */
  readonly isUncertain: boolean
  readonly minted?: number
}

const status = (status: number): Fault => ({ kind: 'status', status, body: { detail: 'no' } })
const MINT_FAULTS: readonly Row[] = [
  { name: '401', fault: status(401), code: 'key_rejected', isUncertain: false },
  { name: '403', fault: status(403), code: 'key_minting_refused', isUncertain: false },
  { name: '404', fault: status(404), code: 'key_minting_refused', isUncertain: false },
  { name: '422', fault: status(422), code: 'key_minting_refused', isUncertain: false },
  { name: '429', fault: status(429), code: 'prefect_rate_limited', isUncertain: false },
  { name: '500', fault: status(500), code: 'prefect_failed', isUncertain: true },
  { name: '503', fault: status(503), code: 'prefect_failed', isUncertain: true },
  { name: 'a page', fault: { kind: 'html' }, code: 'prefect_unexpected', isUncertain: true },
  {
    name: 'a reset before',
    fault: { kind: 'reset', when: 'before' },
    code: 'prefect_unreachable',
    isUncertain: true,
  },
  {
    name: 'a reset after',
    fault: { kind: 'reset', when: 'after' },
    code: 'prefect_unreachable',
    isUncertain: true,
    minted: 1,
  },
  { name: 'silence', fault: { kind: 'silence' }, code: 'prefect_unreachable', isUncertain: true },
  {
    name: 'half an answer',
    fault: { kind: 'half' },
    code: 'prefect_unexpected',
    isUncertain: true,
    minted: 1,
  },
  {
    name: 'other types',
    fault: { kind: 'wrong_types' },
    code: 'prefect_unexpected',
    isUncertain: true,
    minted: 1,
  },
]

for (const { name, fault, code, isUncertain, minted = 0 } of MINT_FAULTS) {
  t.test(
    `minting answered by ${name}: the old key is served, no second mint, ${isUncertain ? 'the journal names what may live' : 'the journal is clean'}`,
    async (t) => {
      const stage = await setStage(t)
      const { broker, sim, old } = stage
      sim.faults.next(MINT, fault)
      await t.rejects(broker.rotator.rotate('cloud'), { code })
      await broker.credentials.settle()
      t.equal(broker.served(), old)
      t.equal(sim.requests.filter(({ method }) => method === 'POST').length, 1)
      t.equal(living(stage).length, minted)
      t.equal(entries(broker).length, isUncertain ? 1 : 0)
      if (isUncertain) t.match(entries(broker)[0], { step: 'lost', keyName: /^prefect-auth / })
      const again = await stage.reopen()
      await again.recover()
      t.equal(again.served(), old)
      t.equal(living(stage).length, minted, 'recovery mints nothing')
      t.equal(entries(again).length, isUncertain ? 1 : 0)
    },
  )
}

t.test('finds a key whose response was lost by its name, if Prefect lists keys', async (t) => {
  const stage = await setStage(t, { keyListing: true })
  stage.sim.faults.next(MINT, { kind: 'reset', when: 'after' })
  await t.rejects(stage.broker.rotator.rotate('cloud'), { code: 'prefect_unreachable' })
  t.equal(living(stage).length, 1)
  await stage.broker.rotator.recover()
  t.equal(living(stage).length, 0)
  t.strictSame(entries(stage.broker), [])
  t.equal(stage.broker.served(), stage.old)
})

t.test('does not ask Prefect if the vault cannot be written', async (t) => {
  const stage = await setStage(t)
  await rm(join(stage.broker.stateDir, 'vault'), { recursive: true })
  await t.rejects(stage.broker.rotator.rotate('cloud'), { code: 'disk_failed' })
  t.equal(stage.sim.requests.length, 0)
  t.strictSame(entries(stage.broker), [])
  t.equal(stage.broker.served(), stage.old)
})

t.test('deletes the new key if the vault breaks while Prefect mints', async (t) => {
  const stage = await setStage(t)
  const hold = holdNext(stage.sim, MINT)
  const failed = t.rejects(stage.broker.rotator.rotate('cloud'), { code: 'disk_failed' })
  await hold.struck()
  await rm(join(stage.broker.stateDir, 'vault'), { recursive: true })
  hold.release()
  await failed
  t.equal(living(stage).length, 0)
  t.strictSame(entries(stage.broker), [])
  t.equal(stage.broker.served(), stage.old)
})

const VERIFY_FAULTS: readonly {
  readonly name: string
  readonly fault: Fault
  readonly times: number
  readonly outcome: 'done' | ErrorCode
}[] = [
  { name: '401 once', fault: status(401), times: 1, outcome: 'done' },
  { name: '401 three times', fault: status(401), times: 3, outcome: 'done' },
  { name: '401 always', fault: status(401), times: 99, outcome: 'key_rejected' },
  { name: '403', fault: status(403), times: 99, outcome: 'prefect_forbidden' },
  {
    name: 'no workspaces',
    fault: { kind: 'status', status: 200, body: [] },
    times: 1,
    outcome: 'prefect_unexpected',
  },
  { name: 'a page', fault: { kind: 'html' }, times: 1, outcome: 'prefect_unexpected' },
  { name: '404', fault: status(404), times: 99, outcome: 'prefect_not_found' },
  { name: '400', fault: status(400), times: 99, outcome: 'prefect_refused' },
  { name: 'nothing', fault: { kind: 'html', page: '' }, times: 99, outcome: 'prefect_unexpected' },
]

for (const { name, fault, times, outcome } of VERIFY_FAULTS) {
  t.test(
    `verifying answered by ${name}: ${outcome === 'done' ? 'tried again, promoted' : 'decides nothing'}`,
    async (t) => {
      const stage = await setStage(t)
      const { broker, sim, old } = stage
      sim.faults.next(WORKSPACES, fault, times)
      if (outcome === 'done') {
        const record = await broker.rotator.rotate('cloud')
        t.equal(broker.keeper.profile('cloud').currentItem, record.item)
      } else {
        await t.rejects(broker.rotator.rotate('cloud'), { code: outcome })
        await broker.credentials.settle()
        t.equal(broker.served(), old)
        t.match(entries(broker), [{ step: 'stored' }])
        await broker.rotator.recover()
        t.match(entries(broker), times > 1 ? [{ step: 'stored' }] : [], 'nor at the next look')
        sim.faults.clear()
        await broker.rotator.recover()
        await broker.credentials.settle()
        t.not(broker.served(), old, 'what was minted is not forgotten')
        t.equal(living(stage).length, 1)
      }
      t.strictSame(entries(broker), [])
    },
  )
}

t.test('undoes a rotation whose key never works while the old one does', async (t) => {
  const stage = await setStage(t)
  const { broker, sim, old } = stage
  const hold = holdNext(sim, WORKSPACES)
  const failed = t.rejects(broker.rotator.rotate('cloud'), { code: 'key_rejected' })
  await hold.struck()
  for (const record of Object.values(broker.keeper.ledger().keys)) {
    if (record.fingerprint !== new Secret(old).fingerprint())
      sim.keys.revoke(broker.keeper.keyOf(record.item)?.reveal() ?? '')
  }
  hold.release()
  await failed
  await broker.credentials.settle()
  t.equal(broker.served(), old)
  t.equal(Object.keys(broker.keeper.ledger().keys).length, 1)
  t.strictSame(entries(broker), [])
})

t.test('keeps the new key if Prefect is unreachable while verifying, and finishes later', async (t) => {
  const stage = await setStage(t)
  const outage = stage.sim.faults.always(WORKSPACES, status(503))
  await t.rejects(stage.broker.rotator.rotate('cloud'), { code: 'prefect_failed' })
  t.equal(stage.broker.served(), stage.old)
  t.match(entries(stage.broker), [{ step: 'stored' }])
  await t.rejects(stage.broker.rotator.rotate('cloud'), { code: 'prefect_unreachable' })
  t.equal(living(stage).length, 1, 'no second key beside one that only has to be verified')
  await stage.broker.rotator.recover()
  t.equal(stage.broker.served(), stage.old)
  outage.disarm()
  await stage.broker.rotator.recover()
  await stage.broker.credentials.settle()
  t.not(stage.broker.served(), stage.old)
  t.equal(living(stage).length, 1)
  t.strictSame(entries(stage.broker), [])
})

t.test('keeps the id of an unverified key until it can be deleted', async (t) => {
  const stage = await setStage(t)
  const outage = stage.sim.faults.always(DELETE, status(503))
  stage.sim.faults.next(WORKSPACES, { kind: 'status', status: 200, body: [ELSEWHERE] })
  await t.rejects(stage.broker.rotator.rotate('cloud'), { code: 'workspace_none' })
  const [left] = living(stage)
  t.match(entries(stage.broker), [{ step: 'lost', cloudId: left?.id }])
  outage.disarm()
  const again = await stage.reopen()
  await again.recover()
  t.equal(living(stage).length, 0)
  t.strictSame(entries(again), [])
  t.equal(again.served(), stage.old)
})

t.test('a key that is to be deleted is not forgotten while nobody can read the file', async (t) => {
  const stage = await setStage(t)
  stage.sim.faults.always(DELETE, status(503))
  stage.sim.faults.next(WORKSPACES, { kind: 'status', status: 200, body: [ELSEWHERE] })
  await t.rejects(stage.broker.rotator.rotate('cloud'), { code: 'workspace_none' })
  const [left] = living(stage)
  await stage.broker.close()
  await writeFile(stage.broker.profilesFile, '[profiles.\n')
  const again = await stage.reopen()
  await again.rotator.recover()
  t.match(entries(again), [{ step: 'lost', cloudId: left?.id }])
  stage.sim.faults.clear()
  await again.rotator.recover()
  t.strictSame([living(stage), entries(again)], [[], []])
})

t.test('a locked vault decides nothing about a new key', async (t) => {
  const sim = await startCloudSimulator()
  const root = await makeRoot(t)
  const open = () => openBroker({ root, sim, passphrase: 'correct horse' })
  const first = await open()
  await first.logins.keep(await first.delivery(sim.issueKey()))
  first.saboteur.onStep((step) => {
    if (step === 'before cloud.workspaces') first.saboteur.arm(0)
  })
  await t.rejects(first.rotator.rotate('cloud'))
  await first.close()
  const again = await open()
  t.after(async () => {
    await again.close()
    await sim.close()
  })
  await again.vaultAdmin.lock()
  await again.rotator.recover()
  t.match(Object.values(again.journal.read().entries), [{ kind: 'rotation', step: 'stored' }])
  await again.vaultAdmin.unlock(new Secret('correct horse'))
  await again.rotator.recover()
  await again.credentials.settle()
  t.equal(again.keeper.current('cloud')?.origin, 'minted')
  t.ok(sim.keys.authenticate(again.served() ?? ''))
  t.strictSame(again.journal.read().entries, {})
})

t.test('a login during a rotation has its turn after it, and wins', async (t) => {
  for (const moment of ['minting', 'verifying'] as const) {
    const stage = await setStage(t)
    const { broker, sim } = stage
    const fresh = sim.issueKey({ name: 'second login' })
    const delivery = await broker.delivery(fresh)
    const hold = holdNext(sim, moment === 'minting' ? MINT : WORKSPACES)
    const rotation = broker.rotator.rotate('cloud')
    await hold.struck()
    const login = broker.logins.keep(delivery)
    hold.release()
    await Promise.all([rotation, login])
    await broker.credentials.settle()
    t.equal(broker.served(), fresh, moment)
    t.strictSame(entries(broker), [])
    await broker.renewer.tick()
    const minted = sim.keys.all().filter(({ name }) => name.startsWith('prefect-auth '))
    t.strictSame(
      minted.map(({ deletedAt }) => deletedAt !== undefined),
      [true],
    )
  }
})

t.test('shares one rotation between concurrent callers', async (t) => {
  const stage = await setStage(t)
  const [one, other] = await Promise.all([
    stage.broker.rotator.rotate('cloud'),
    stage.broker.rotator.rotate('cloud'),
  ])
  t.equal(one.item, other?.item)
  t.equal(living(stage).length, 1)
})

for (const revoke of [false, true]) {
  const how = revoke ? ', and no key is left at Prefect' : ''
  t.test(`a log-out during a rotation has its turn after it${how}`, async (t) => {
    const stage = await setStage(t)
    const { broker, sim } = stage
    let release = () => {}
    const until = new Promise<void>((resolve) => {
      release = resolve
    })
    const armed = sim.faults.next(WORKSPACES, { kind: 'hold', until })
    const rotation = broker.rotator.rotate('cloud')
    while (armed.struck === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    const logout = broker.profiles.logout('cloud', { revoke })
    release()
    await Promise.all([rotation, logout])
    t.equal(broker.served(), 'login_required')
    t.strictSame(broker.keeper.ledger().keys, {})
    t.strictSame(entries(broker), [])
    if (revoke) t.strictSame(living(stage), [])
    const again = await stage.reopen()
    await again.recover()
    t.equal(again.served(), 'login_required', 'nor does a start bring it back')
  })
}

t.test("does not exchange a service account's key, nor ask Prefect to", async (t) => {
  const sim = await startCloudSimulator({ bots: [{ name: 'ci', account: 'prefect' }] })
  const root = await makeRoot(t)
  const broker = await openBroker({ root, sim })
  t.after(async () => {
    await broker.close()
    await sim.close()
  })
  const key = sim.issueBotKey({ bot: 'ci' })
  const outcome = await broker.logins.keep(await broker.delivery(key, { via: 'pasted', exchange: true }))
  t.match(outcome, { key: { origin: 'service_account' }, exchange: { isDone: false, message: /users only/ } })
  t.equal(broker.served(), key)
  t.equal(sim.requests.filter(({ method }) => method === 'POST').length, 0)
})
