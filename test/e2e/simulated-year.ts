/** The whole daemon through a year of simulated time, awake, asleep and with outages. */
import t, { type Test } from 'tap'
import { startTimeMachine, type TimeMachine } from './fixtures/time-machine.js'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

interface Report {
  readonly polls: number
  readonly gaps: readonly string[]
  readonly renewals: number
}

/** Passes `ms` in the steps of `live`, and polls after each. */
async function follow(
  machine: TimeMachine,
  ms: number,
  live: (at: number) => Promise<void>,
): Promise<Report> {
  const { sim } = machine
  const start = machine.now()
  const seen = new Set<string>()
  const gaps: string[] = []
  let polls = 0
  while (machine.now() - start < ms) {
    await live(machine.now() - start)
    const key = await machine.poll()
    polls += 1
    seen.add(key)
    if (sim.keys.authenticate(key) === undefined) {
      gaps.push(`${new Date(machine.now()).toISOString()}: ${key.startsWith('pnu_') ? 'a dead key' : key}`)
    }
  }
  return { polls, gaps, renewals: seen.size - 1 }
}

function check(t: Test, machine: TimeMachine, report: Report, least: number): void {
  const { sim } = machine
  t.comment(`${report.polls} polls, ${report.gaps.length} gaps, ${report.renewals} renewals`)
  t.strictSame(report.gaps, [], 'no poll ever got a key that does not work')
  t.ok(report.renewals >= least, `${report.renewals} renewals`)
  const minted = sim.keys.all().filter(({ name }) => name.startsWith('prefect-auth '))
  t.equal(minted.length, report.renewals + 1, 'and no other key was minted')
}

t.setTimeout(400_000)

t.test('a year, awake', { timeout: 880_000 }, async (t) => {
  const machine = await startTimeMachine(t)
  const report = await follow(machine, 365 * DAY, () => machine.pass(3 * HOUR))
  check(t, machine, report, 12)
  // Right after a renewal the previous key is still valid; at the end of the year it may have expired.
  for (const last = await machine.poll(); (await machine.poll()) === last; ) await machine.pass(3 * HOUR)
  const { renewal } = await machine.profile()
  t.match(renewal, { plan: 'scheduled', last: { outcome: 'done' }, old_keys: [{}, { handed_out: true }] })
})

t.test(
  'a year with half an hour of outage every day, asleep every night',
  { timeout: 880_000 },
  async (t) => {
    const machine = await startTimeMachine(t)
    const report = await follow(machine, 365 * DAY, async (at) => {
      const hour = (at % DAY) / HOUR
      if (hour < 8) return machine.sleep(8 * HOUR)
      if (hour !== 11) return machine.pass(hour === 11.5 ? 2.5 * HOUR : hour === 20 ? 4 * HOUR : 3 * HOUR)
      const outage = machine.sim.faults.always({}, { kind: 'reset', when: 'before' })
      await machine.pass(HOUR / 2)
      outage.disarm()
    })
    check(t, machine, report, 12)
  },
)

t.test('keys of one hour, for two days', { timeout: 880_000 }, async (t) => {
  const machine = await startTimeMachine(t, { 'renewal.key_lifetime': '1h', 'renewal.retire_after': '30m' })
  const report = await follow(machine, 2 * DAY, () => machine.pass(2 * MINUTE))
  check(t, machine, report, 2 * 24)
})

t.test('after three weeks asleep: renewed once, at waking', { timeout: 60_000 }, async (t) => {
  const machine = await startTimeMachine(t)
  const before = await machine.poll()
  await machine.sleep(21 * DAY)
  await machine.pass(MINUTE)
  const after = await machine.poll()
  t.not(after, before)
  t.ok(machine.sim.keys.authenticate(after))
})

t.test('after five weeks asleep: asks for a login, once', { timeout: 60_000 }, async (t) => {
  const machine = await startTimeMachine(t)
  const key = await machine.poll()
  await machine.sleep(35 * DAY)
  t.equal(await machine.poll(), key, 'the wall clock alone never stops a key from being served')
  // Prefect answers in its own time, which is not the machine's: on a busy one an answer arrives some minutes later.
  for (let minute = 0; minute < 10 && (await machine.poll()) === key; minute += 1) await machine.pass(MINUTE)
  t.equal(await machine.poll(), 'login_required')
  machine.sim.forgetRequests()
  for (let step = 0; step < 48; step += 1) await machine.pass(HOUR)
  t.equal(machine.sim.requests.length, 0, 'and no request goes to Prefect')
  const { body } = await machine.ask('GET', '/readyz/cloud')
  t.match(body, { ready: false, hint: 'prefect-auth login --profile cloud' })
})
