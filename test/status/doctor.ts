import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { examine, planExaminations } from '../../src/status/doctor.js'
import { makeRoot, openBroker } from '../fixtures/broker.js'

t.test('the doctor finds what is wrong and names the command that helps', async (t) => {
  const sim = await startCloudSimulator()
  const root = await makeRoot(t)
  const broker = await openBroker({ root, sim })
  t.after(async () => {
    await broker.close()
    await sim.close()
  })
  let skewMs: number | undefined
  const look = async () => {
    const checks = await examine(
      planExaminations({
        ...{ credentials: broker.credentials, cloud: broker.cloud, vault: broker.vault },
        listeners: () => [{ door: 'tcp', address: 'x', state: 'failed', problem: 'port 1 is taken by x' }],
        notices: () => ['ledger.json was corrupt'],
        clockSkewMs: () => skewMs,
        auditProblem: () => undefined,
        now: () => Date.now(),
      }),
    )
    return Object.fromEntries(checks.map(({ name, ...check }) => [name, check]))
  }
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  t.match(await look(), {
    listeners: { verdict: 'warning', finding: /port 1 is taken/, remedy: /PREFECT_AUTH_PORT/ },
    vault: { verdict: 'warning', finding: /not protected/ },
    'profiles file': { verdict: 'ok' },
    'plain-text keys': { verdict: 'ok' },
    'active profile': { verdict: 'ok' },
    prefect: { verdict: 'ok', finding: /reaches 1 workspace/ },
    clock: { verdict: 'unknown' },
    state: { verdict: 'problem', finding: /was corrupt/ },
  })
  skewMs = 3_600_000
  t.match(await look(), { clock: { verdict: 'problem', finding: /1h ahead of/, remedy: /ntp/ } })
  await broker.write(`${await broker.file()}PREFECT_API_KEY = "${sim.issueKey()}"\n`)
  t.match(await look(), {
    'plain-text keys': { verdict: 'warning', remedy: 'prefect-auth adopt --profile cloud' },
  })
  const stop = sim.forbid()
  t.match(await look(), { prefect: { verdict: 'problem', finding: /answered 403/ } })
  stop()
  await broker.profiles.logout('cloud', { revoke: false })
  t.match(await look(), {
    'active profile': { verdict: 'problem', remedy: 'prefect-auth login --profile cloud' },
    prefect: { finding: /not asked/ },
  })
})

t.test('a check that fails itself is unknown, and the others are told all the same', async (t) => {
  const checks = await examine([
    {
      name: 'a',
      examine: async () => {
        throw new Error('boom')
      },
    },
    { name: 'b', examine: async () => ({ verdict: 'ok', finding: 'fine' }) },
  ])
  t.strictSame(checks, [
    { name: 'a', verdict: 'unknown', finding: 'boom' },
    { name: 'b', verdict: 'ok', finding: 'fine' },
  ])
})
