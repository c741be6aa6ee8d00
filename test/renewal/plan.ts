import fc from 'fast-check'
import t from 'tap'
import type { KeyRecord, LastRenewal } from '../../src/keys/ledger.js'
import { jitterOf, planRenewal } from '../../src/renewal/plan.js'

const DAY = 86_400_000
const BORN = Date.UTC(2026, 0, 1)
const OWNER = { kind: 'user', id: 'u', handle: 'terry' } as const

function key(changes: Partial<KeyRecord> = {}): KeyRecord {
  return {
    item: 'key-1',
    profile: 'cloud',
    cloudApiUrl: 'https://api.prefect.cloud/api',
    fingerprint: 'sha256:0',
    origin: 'minted',
    issuedAt: BORN,
    expiresAt: BORN + 30 * DAY,
    handedOut: false,
    ...changes,
  }
}

function daysOf(record: KeyRecord, jitter: number, last?: LastRenewal): number | string {
  const plan = planRenewal({ record, owner: OWNER, jitter, ...(last ? { last } : {}) })
  return plan.kind === 'renew' ? (plan.at - BORN) / DAY : plan.kind
}

t.test('renews a key of thirty days between day 18 and day 20, by its jitter', async (t) => {
  t.equal(daysOf(key(), 0), 20)
  t.equal(daysOf(key(), 0.5), 19)
  t.ok(Number(daysOf(key(), 0.999)) > 18)
})

t.test('renews a key of one hour after 38 to 40 minutes', async (t) => {
  const hour = key({ expiresAt: BORN + 3_600_000 })
  t.equal(Math.round(Number(daysOf(hour, 0)) * 1440), 40)
  t.equal(Math.round(Number(daysOf(hour, 0.5)) * 1440), 38)
})

const failed = (code: string, at = BORN + 1): LastRenewal => ({ at, outcome: 'failed', code })
const browser = key({ origin: 'browser', expiresAt: BORN + 30 * DAY, isExpiryAssumed: true })
const { expiresAt: _, ...endless } = key()

const ROWS: readonly (readonly [string, KeyRecord, LastRenewal | undefined, number | string])[] = [
  ['a browser key that was never exchanged: at once', browser, undefined, 0],
  ['one whose exchange Prefect refused: after two thirds', browser, failed('key_minting_refused'), 20],
  ['one whose exchange was forbidden from here: after two thirds', browser, failed('prefect_forbidden'), 20],
  ['one whose exchange met an outage: at once', browser, failed('prefect_unreachable'), 0],
  [
    'one after a refusal that was about the key before: at once',
    browser,
    failed('key_minting_refused', BORN - 1),
    0,
  ],
  ['a pasted key: only on request', key({ origin: 'pasted' }), undefined, 'not_renewable'],
  ['a key from the file: only on request', key({ origin: 'profile' }), undefined, 'not_renewable'],
  ['a service account', key({ origin: 'service_account' }), undefined, 'not_renewable'],
  ['a rejected key', key({ rejectedAt: BORN + 1 }), undefined, 'not_renewable'],
  ['a key without end', endless, undefined, 'not_needed'],
  [
    'a key that is due when it comes: a twentieth of what it has left after the last renewal',
    key({ issuedAt: BORN - 25 * DAY, expiresAt: BORN + 5 * DAY }),
    { at: BORN, outcome: 'done' },
    0.25,
  ],
  [
    'a key that was born dead: not again within the minute',
    key({ issuedAt: BORN, expiresAt: BORN - DAY }),
    { at: BORN, outcome: 'done' },
    1 / 1440,
  ],
]

for (const [name, record, last, expected] of ROWS) {
  t.test(name, async (t) => {
    t.equal(daysOf(record, 0, last), expected)
  })
}

t.test('gives the command that helps if a key cannot be renewed', async (t) => {
  const hintOf = (changes: Partial<KeyRecord>) => planRenewal({ record: key(changes), jitter: 0 })
  t.match(hintOf({ origin: 'pasted' }), { hint: 'prefect-auth login --profile cloud --exchange' })
  t.match(hintOf({ origin: 'service_account' }), { hint: /service-account rotate NAME --profile cloud/ })
  t.match(hintOf({ rejectedAt: 1 }), { hint: 'prefect-auth login --profile cloud' })
  t.match(hintOf({}), { kind: 'not_renewable', hint: 'prefect-auth login --profile cloud' }, 'no owner known')
})

t.test('leaves at least a third of the life, whatever the life and the jitter', async () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      fc.integer({ min: 60_000 }),
      (jitter, life) => {
        const plan = planRenewal({ record: key({ expiresAt: BORN + life }), owner: OWNER, jitter })
        if (plan.kind !== 'renew') return false
        return plan.at > BORN && plan.at <= BORN + (life * 2) / 3 + 1 && plan.at >= BORN + (life * 3) / 5 - 1
      },
    ),
  )
})

t.test('gives an item the same jitter every time, spread over [0, 1)', async (t) => {
  const jitters = Array.from({ length: 1000 }, (_, n) => jitterOf(`key-${n}`))
  t.ok(jitters.every((jitter) => jitter >= 0 && jitter < 1))
  const mean = jitters.reduce((sum, jitter) => sum + jitter, 0) / jitters.length
  t.ok(mean > 0.45 && mean < 0.55)
  t.equal(jitterOf('key-1'), jitterOf('key-1'))
})
