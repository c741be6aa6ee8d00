/** The probe finds either rule of Prefect, how late it is, and leaves nothing behind. */
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import type { SimulatorOptions } from '../../sim/simulator-types.js'
import { isBrokerError } from '../../src/base/errors.js'
import { type ProbeParts, probePrefect } from '../../src/share/probe.js'
import { type Clock, systemClock } from '../../src/std/clock.js'
import { Secret } from '../../src/std/secret.js'
import { createTestCloud } from '../fixtures/cloud-client.js'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** Waiting takes no time of ours, and the same of Prefect's as of the probe's. */
async function setStage(t: Test, options: SimulatorOptions = {}) {
  const sim = await startCloudSimulator({ clock: { frozen: true }, ...options })
  const cloud = createTestCloud()
  t.teardown(async () => Promise.all([cloud.close(), sim.close()]))
  let mono = 0
  const clock: Clock = {
    ...systemClock(),
    monotonic: () => mono,
    after(ms, run) {
      mono += ms
      sim.clock.advance(ms)
      setImmediate(run)
      return { cancel: () => undefined }
    },
  }
  const stop = new AbortController()
  const parts: ProbeParts = {
    ...{ cloud, clock, newId: () => 'abc', accountId: [...sim.directory.accounts.keys()][0] ?? '' },
    owner: { cloudApiUrl: sim.apiUrl, key: new Secret(sim.issueKey()) },
    endOfLife: (lifeMs) => sim.clock.now() + lifeMs,
    signal: stop.signal,
  }
  // The owner's key is accepted by now.
  sim.clock.advance(HOUR)
  return { sim, parts, stop, bots: () => [...sim.directory.bots.values()].map(({ name }) => name) }
}

t.test('keys that live until their own end', async (t) => {
  const { parts, bots } = await setStage(t)
  const found = await probePrefect(parts)
  t.strictSame(found, {
    ...{ serviceAccount: 'prefect-auth-probe-abc', hasOverlap: true, older: 'independent' },
    ...{ acceptedAfterMs: 0, listedAfterMs: 0, isLeft: false, leftOver: [] },
  })
  t.strictSame(bots(), [], 'it is deleted')
})

t.test('one previous key at a time', async (t) => {
  const { sim, parts, bots } = await setStage(t)
  sim.keepOnePrevious(true)
  const found = await probePrefect(parts)
  t.match(found, { hasOverlap: true, older: 'one_previous', endedAfterMs: 0 })
  t.strictSame(bots(), [])
})

t.test('lists that are late, and keys that are accepted late', async (t) => {
  const { sim, parts } = await setStage(t, { newKeyDelay: 8_000 })
  sim.ageServiceAccounts(() => 31_000)
  t.match(await probePrefect(parts), { acceptedAfterMs: 8_000, listedAfterMs: 32_000 })
  sim.ageServiceAccounts(() => HOUR)
  const { acceptedAfterMs, listedAfterMs } = await probePrefect({ ...parts, newId: () => 'two' })
  t.equal(acceptedAfterMs, 8_000)
  t.equal(listedAfterMs, undefined, 'not within two minutes')
})

t.test('a Prefect that ends the replaced key at once', async (t) => {
  const { parts } = await setStage(t)
  const { cloud } = parts
  const found = await probePrefect({
    ...parts,
    cloud: {
      ...cloud,
      rotateServiceAccountKey: (target, account, id, wanted) =>
        cloud.rotateServiceAccountKey(target, account, id, { ...wanted, oldKeyLivesMs: 0 }),
    },
  })
  t.match(found, { hasOverlap: false })
})

t.test('a service account that is named stays, and earlier ones are told', async (t) => {
  const { sim, parts, bots } = await setStage(t, {
    bots: [
      { name: 'spare', account: 'prefect' },
      { name: 'prefect-auth-probe-old', account: 'prefect' },
    ],
  })
  sim.issueBotKey({ bot: 'spare' })
  const { id, name } = sim.directory.bot('spare')
  const found = await probePrefect(parts, { id, name })
  t.match(found, { serviceAccount: 'spare', hasOverlap: true, leftOver: ['prefect-auth-probe-old'] })
  t.strictSame(bots(), ['spare', 'prefect-auth-probe-old'])
})

t.test('whatever goes wrong on the way, the service account is deleted, or named', async (t) => {
  const { sim, parts, stop, bots } = await setStage(t)
  const failing = async (why: string) => {
    const error: unknown = await probePrefect(parts).then(
      () => undefined,
      (cause: unknown) => cause,
    )
    if (isBrokerError(error)) return error
    throw new Error(`${why}: ${String(error)}`)
  }
  sim.faults.next({ method: 'POST', path: /rotate_api_key$/ }, { kind: 'reset', when: 'after' })
  await failing('a lost answer')
  t.strictSame(bots(), [])
  sim.faults.next(
    { method: 'POST', path: /rotate_api_key$/ },
    { kind: 'status', status: 403, body: { detail: 'no' } },
  )
  const outage = sim.faults.always({ method: 'DELETE' }, { kind: 'status', status: 500 })
  const { message, hint } = await failing('no way to delete it')
  t.match(message, /prefect-auth-probe-abc is still at Prefect/)
  t.match(hint, /service-account delete prefect-auth-probe-abc --yes/)
  outage.disarm()
  sim.directory.bots.clear()
  const left = sim.faults.always({ method: 'DELETE' }, { kind: 'status', status: 500 })
  sim.keepOnePrevious(true)
  t.match(await probePrefect(parts), { isLeft: true })
  left.disarm()
  sim.directory.bots.clear()
  stop.abort()
  t.equal((await failing('stopped')).code, 'shutting_down')
  t.strictSame(bots(), [], 'also if its client is gone')
})
