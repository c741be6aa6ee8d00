/** What `doctor` finds: tables for the pure checks, and all of them over a whole broker. */

import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { BrokerError } from '../../src/base/errors.js'
import type { ResolvedProfile } from '../../src/profiles/profile.js'
import {
  examine,
  judgeClock,
  judgeFile,
  judgeKeys,
  judgePlainKeys,
  judgeProfile,
  judgeRenewals,
  judgeVault,
  planExaminations,
} from '../../src/status/doctor.js'
import { judgeListeners } from '../../src/status/listeners.js'
import { judgeReach } from '../../src/status/prefect.js'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../src/std/clock.js'
import { defined } from '../../src/std/defined.js'
import { makeRoot, openBroker } from '../fixtures/broker.js'
import { PROD, STAGING } from '../fixtures/login-parts.js'

const NOW = Date.parse('2026-01-01T00:00:00Z')
const RESOLVED: ResolvedProfile = {
  name: 'cloud',
  because: 'it is active',
  source: 'file',
  isActive: true,
  kind: 'cloud',
  cloudApiUrl: 'https://api.prefect.cloud/api',
  cloudUiUrl: 'https://app.prefect.cloud',
  warnings: [],
}
const SERVED = {
  resolved: RESOLVED,
  outcome: {
    kind: 'served',
    served: { profile: 'cloud', kind: 'cloud', generation: 1, because: 'it is active' },
  },
} as const

/** A served profile whose key expires in `ms`. */
const expiring = (ms: number) =>
  judgeProfile({ ...SERVED, key: { fingerprint: 'sha256:0', origin: 'minted', expiresAt: NOW + ms } }, NOW)
const clockOff = (finding: string) => ({ verdict: 'problem', finding, remedy: 'timedatectl set-ntp true' })
const renewable = (at: string) => ({ plan: { kind: 'renew', at: Date.parse(at) } }) as const
const stuck = { plan: { kind: 'not_renewable', why: 'it was pasted', hint: 'prefect-auth login' } } as const

const standing = (kind: 'doubted' | 'rejected') =>
  ({ standing: { kind, message: `the key is ${kind}`, hint: 'prefect-auth login' } }) as const

for (const [name, found, expected] of [
  ['keys that Prefect accepts are ok', judgeKeys([{}, {}]), { verdict: 'ok' }],
  [
    'a doubted key of any profile is a warning',
    judgeKeys([{}, standing('doubted')]),
    { verdict: 'warning', finding: 'the key is doubted', remedy: 'prefect-auth login' },
  ],
  [
    'a rejected key of any profile is a problem',
    judgeKeys([standing('doubted'), standing('rejected')]),
    { verdict: 'problem', finding: 'the key is rejected (and 1 more)' },
  ],
  [
    'open listeners are ok',
    judgeListeners([
      { door: 'socket', address: '/run/a', state: 'listening' },
      { door: 'restricted', address: '/run/b', state: 'off' },
      { door: 'tcp', address: '127.0.0.1:4280', state: 'listening' },
    ]),
    { verdict: 'ok', finding: 'listening on /run/a and 127.0.0.1:4280' },
  ],
  [
    'a failed listener is a warning',
    judgeListeners([{ door: 'tcp', address: '127.0.0.1:4280', state: 'failed' }]),
    { verdict: 'warning', finding: 'cannot open 127.0.0.1:4280', remedy: /PREFECT_AUTH_PORT/ },
  ],
  [
    'a protected vault is ok',
    judgeVault(undefined, { backend: 'keychain', atRest: 'os keychain' }),
    { verdict: 'ok', finding: 'keychain, at rest: os keychain' },
  ],
  [
    'an unprotected vault is a warning',
    judgeVault(undefined, { backend: 'file', atRest: 'not protected' }),
    { verdict: 'warning', finding: /not protected/, remedy: /prefect-auth vault move --to passphrase/ },
  ],
  [
    "a vault's own problem comes before the error of the attempt",
    judgeVault(new BrokerError('vault_locked', 'locked', { hint: 'prefect-auth unlock' }), {
      backend: 'file',
      atRest: 'passphrase',
      problem: { message: 'the vault is locked', hint: 'prefect-auth unlock' },
    }),
    { verdict: 'problem', finding: 'the vault is locked', remedy: 'prefect-auth unlock' },
  ],
  [
    'an unexpected vault error is a problem without details',
    judgeVault(new TypeError('x'), { backend: 'file', atRest: 'passphrase' }),
    { verdict: 'problem', finding: 'the vault does not work' },
  ],
  ['a valid file is ok', judgeFile({ state: 'good', path: '/p' }), { verdict: 'ok', finding: '/p' }],
  ['a missing file is ok', judgeFile({ state: 'missing', path: '/p' }), { verdict: 'ok' }],
  [
    'an invalid file is a problem',
    judgeFile({ state: 'invalid', path: '/p', problem: 'line 2' }),
    { verdict: 'problem', finding: /^\/p: line 2;/, remedy: 'fix /p' },
  ],
  [
    'keys in the vault are ok',
    judgePlainKeys([{ keySource: 'vault', resolved: RESOLVED }]),
    { verdict: 'ok' },
  ],
  [
    'a key in the file is a warning',
    judgePlainKeys([{ keySource: 'file', resolved: { ...RESOLVED, name: "o'hara" } }]),
    { verdict: 'warning', finding: /: 'o'hara'$/, remedy: "prefect-auth adopt --profile 'o'\\''hara'" },
  ],
  [
    'an active profile without an expiry is ok',
    judgeProfile(SERVED, NOW),
    { verdict: 'ok', finding: 'cloud: it is active' },
  ],
  ['a key of eight days is ok', expiring(8 * DAY_MS), { verdict: 'ok' }],
  [
    'a key of six days is a warning',
    expiring(6 * DAY_MS),
    {
      verdict: 'warning',
      finding: "the key of profile 'cloud' expires in 6d",
      remedy: 'prefect-auth login --profile cloud',
    },
  ],
  ['a key of an hour is a problem', expiring(HOUR_MS), { verdict: 'problem', finding: /expires in 1h$/ }],
  [
    'hours are not shown as minutes',
    expiring(DAY_MS - 1),
    { verdict: 'problem', finding: /expires in 23h$/ },
  ],
  ['minutes are shown of a short time', expiring(2 * HOUR_MS - 1), { finding: /expires in 119m$/ }],
  ['a last second is shown as a minute', expiring(500), { verdict: 'problem', finding: /expires in 1m$/ }],
  ['an expired key is a problem', expiring(-1), { verdict: 'problem', finding: /has expired$/ }],
  [
    'a profile that is not served is a problem',
    judgeProfile(
      {
        ...SERVED,
        outcome: { kind: 'refused', error: new BrokerError('login_required', 'no key', { hint: 'login' }) },
      },
      NOW,
    ),
    { verdict: 'problem', finding: 'no key', remedy: 'login' },
  ],
  [
    'a key that reaches the workspace is ok',
    judgeReach([PROD, STAGING], STAGING.workspaceId, ''),
    { verdict: 'ok', finding: /reaches 2 workspaces$/ },
  ],
  ['any workspace will do without a wanted one', judgeReach([PROD], undefined, ''), { verdict: 'ok' }],
  [
    'a key that does not reach the workspace is a problem',
    judgeReach([PROD], STAGING.workspaceId, ''),
    { verdict: 'problem', remedy: 'prefect-auth workspace set' },
  ],
  [
    'the remedy names the profile that was asked about',
    judgeReach([PROD], STAGING.workspaceId, ' --profile old'),
    { verdict: 'problem', remedy: 'prefect-auth workspace set --profile old' },
  ],
  ['a clock that was not compared is unknown', judgeClock(undefined), { verdict: 'unknown' }],
  ['a clock five minutes off is ok', judgeClock(-5 * MINUTE_MS), { verdict: 'ok' }],
  [
    'a clock ahead is a problem',
    judgeClock(6 * MINUTE_MS),
    clockOff("this machine's clock is 6m ahead of Prefect's"),
  ],
  [
    'a clock behind is a problem',
    judgeClock(-2 * HOUR_MS),
    clockOff("this machine's clock is 2h behind Prefect's"),
  ],
  ['no key to renew is ok', judgeRenewals([]), { verdict: 'ok', finding: 'no key to renew' }],
  [
    'planned renewals are ok',
    judgeRenewals([
      ['a', renewable('2026-03-02T00:00:00Z')],
      ['b', renewable('2026-02-01T00:00:00Z')],
    ]),
    { verdict: 'ok', finding: '2 keys will be renewed, the next on 2026-02-01' },
  ],
  [
    'a key that cannot be renewed is a warning',
    judgeRenewals([
      ['a', renewable('2026-03-02T00:00:00Z')],
      ['b', stuck],
    ]),
    {
      verdict: 'warning',
      finding: "the key of profile 'b' is not renewed: it was pasted",
      remedy: 'prefect-auth login',
    },
  ],
  [
    'trouble comes first',
    judgeRenewals([
      ['b', stuck],
      ['a', { ...renewable('2026-03-02T00:00:00Z'), trouble: { message: 'failed', hint: 'try' } }],
    ]),
    { verdict: 'problem', finding: 'failed', remedy: 'try' },
  ],
] as const) {
  t.test(name, async (t) => {
    t.match(found, expected)
    if (expected.verdict === 'ok') t.equal(found.remedy, undefined)
  })
}

t.test('finds what is wrong and names the command that fixes it', async (t) => {
  const sim = await startCloudSimulator()
  const root = await makeRoot(t)
  const broker = await openBroker({ root, sim })
  t.after(async () => {
    await broker.close()
    await sim.close()
  })
  let skewMs: number | undefined
  const look = async (profile?: string) => {
    const checks = await examine(
      planExaminations({
        ...{ credentials: broker.credentials, cloud: broker.cloud, vault: broker.vault },
        listeners: () => [{ door: 'tcp', address: 'x', state: 'failed', problem: 'port 1 is taken by x' }],
        notices: () => ['ledger.json was corrupt'],
        askServer: async () => ({ kind: 'good' }),
        clockSkewMs: () => skewMs,
        trouble: () => undefined,
        auditProblem: () => undefined,
        now: () => Date.now(),
      }),
      defined({ profile }),
    )
    return Object.fromEntries(checks.map(({ name, ...check }) => [name, check]))
  }
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  t.match(await look(), {
    listeners: { verdict: 'warning', finding: /port 1 is taken/, remedy: /PREFECT_AUTH_PORT/ },
    vault: { verdict: 'warning', finding: /not protected/ },
    'profiles file': { verdict: 'ok' },
    'plain-text keys': { verdict: 'ok' },
    profile: { verdict: 'ok' },
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
  sim.keys.revoke(broker.served() ?? '')
  t.match(await look(), { prefect: { verdict: 'problem', remedy: 'prefect-auth login' } })
  t.match(await look('cloud'), { prefect: { remedy: 'prefect-auth login --profile cloud' } })
  await broker.profiles.logout('cloud', { revoke: false })
  t.match(await look(), {
    profile: { verdict: 'problem', remedy: 'prefect-auth login --profile cloud' },
    prefect: { finding: /not checked/ },
  })
})

t.test('reports a check that fails as unknown, and the others as usual', async (t) => {
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
