/**
 * What becomes of a renewal when a step meets a fault: one cell each. In a cell: what is served, the setback, how many keys
 * Prefect was asked to make, and what the journal names. After the fault is over, every cell must end with a new key.
 */
import t, { type Test } from 'tap'
import type { Fault, FaultMatcher } from '../../sim/faults/faults.js'
import { BrokerError, type ErrorCode } from '../../src/base/errors.js'
import { DAY, type RenewalStage, setRenewalStage } from '../fixtures/renewal-stage.js'

const status = (code: number): Fault => ({ kind: 'status', status: code, body: { detail: 'no' } })

const FAULTS = {
  '401': status(401),
  '403': status(403),
  '404': status(404),
  '409': status(409),
  '422': status(422),
  '429': status(429),
  '503': status(503),
  page: { kind: 'html' },
  'reset before': { kind: 'reset', when: 'before' },
  'reset after': { kind: 'reset', when: 'after' },
  'half an answer': { kind: 'half' },
  'other types': { kind: 'wrong_types' },
  silence: { kind: 'silence' },
} as const satisfies Record<string, Fault>

t.setTimeout(300_000)

type FaultName = keyof typeof FAULTS

/** `served · setback · keys asked for · journal`. */
const UNREACHABLE = 'old · not_now prefect_unreachable · 0 · clean'
const UNREADABLE = 'old · not_now prefect_unexpected · 0 · clean'
const ASKING: Record<FaultName, string> = {
  '401': 'old · none · 0 · clean',
  '403': 'old · refused prefect_forbidden · 0 · clean',
  '404': 'old · not_now prefect_not_found · 0 · clean',
  '409': 'old · not_now prefect_refused · 0 · clean',
  '422': 'old · not_now prefect_refused · 0 · clean',
  '429': 'old · not_now prefect_rate_limited · 0 · clean',
  '503': 'old · not_now prefect_failed · 0 · clean',
  page: UNREADABLE,
  'reset before': UNREACHABLE,
  'reset after': UNREACHABLE,
  'half an answer': UNREADABLE,
  'other types': UNREADABLE,
  silence: UNREACHABLE,
}
const REFUSED = 'old · refused key_minting_refused · 1 · clean'
const LOST = 'old · lost prefect_unreachable · 1 · lost'
const LOST_UNREADABLE = 'old · lost prefect_unexpected · 1 · lost'
const MINTING: Record<FaultName, string> = {
  '401': 'old · not_now key_rejected · 1 · clean',
  '403': REFUSED,
  '404': REFUSED,
  '409': REFUSED,
  '422': REFUSED,
  '429': 'old · not_now prefect_rate_limited · 1 · clean',
  '503': 'old · lost prefect_failed · 1 · lost',
  page: LOST_UNREADABLE,
  'reset before': LOST,
  'reset after': LOST,
  'half an answer': LOST_UNREADABLE,
  'other types': LOST_UNREADABLE,
  silence: LOST,
}
const WAITS = 'old · not_now prefect_unreachable · 1 · stored'
const UNREADABLE_WAITS = 'old · not_now prefect_unexpected · 1 · stored'
const VERIFYING: Record<FaultName, string> = {
  '401': 'old · not_now key_rejected · 1 · stored',
  '403': 'old · refused prefect_forbidden · 1 · stored',
  '404': 'old · not_now prefect_not_found · 1 · stored',
  '409': 'old · not_now prefect_refused · 1 · stored',
  '422': 'old · not_now prefect_refused · 1 · stored',
  '429': 'old · not_now prefect_rate_limited · 1 · stored',
  '503': 'old · not_now prefect_failed · 1 · stored',
  page: UNREADABLE_WAITS,
  'reset before': WAITS,
  'reset after': WAITS,
  'half an answer': UNREADABLE_WAITS,
  'other types': UNREADABLE_WAITS,
  silence: WAITS,
}
const RENEWED = 'new · none · 1 · clean'
/** The new key is there: what becomes of the old one is tried again later. */
const DELETING = Object.fromEntries(Object.keys(FAULTS).map((name) => [name, RENEWED]))

const STEPS: readonly {
  readonly name: string
  readonly matcher: FaultMatcher
  /** Only once the old key was asked about: verifying asks the same path. */
  readonly isLate?: boolean
  readonly cells: Readonly<Record<string, string>>
}[] = [
  { name: 'asking whether the old key is good', matcher: { path: /\/api\/me\// }, cells: ASKING },
  { name: 'minting', matcher: { method: 'POST', path: /\/api_keys$/ }, cells: MINTING },
  { name: 'verifying the new key', matcher: { path: '/api/me/workspaces' }, isLate: true, cells: VERIFYING },
  { name: 'deleting the old key', matcher: { method: 'DELETE' }, cells: DELETING },
]

/** One attempt, described like a cell of the table. */
async function tell(stage: RenewalStage): Promise<string> {
  const { broker, events } = stage
  await stage.finish(broker.renewer.tick())
  await broker.credentials.settle()
  const failure = events.findLast(({ type }) => type === 'renewal.failed')
  const setback = failure === undefined ? 'none' : `${failure.facts.setback} ${failure.facts.code}`
  const entries = Object.values(broker.journal.read().entries)
  const journal = entries.map((entry) => (entry.kind === 'rotation' ? entry.step : entry.kind)).join()
  return `${served(stage)} · ${setback} · ${stage.mints()} · ${journal || 'clean'}`
}

function served({ broker, old, sim }: RenewalStage): string {
  const text = broker.served() ?? ''
  if (text === old) return 'old'
  return sim.keys.authenticate(text) === undefined ? 'a key that does not work' : 'new'
}

/** The fault is over: two days later the key is new, works, and nobody has forgotten anything. */
/** `unknown`: how many keys may live that we do not hold. */
async function checkAfterwards(t: Test, stage: RenewalStage, unknown: number) {
  const { broker } = stage
  await stage.tickUntil(() => served(stage) === 'new', 2 * DAY, 60_000)
  t.equal(served(stage), 'new', 'in the end the key is renewed')
  await stage.tickUntil(() => Object.keys(broker.keeper.ledger().keys).length <= 2, 2 * DAY, 3_600_000)
  const records = Object.values(broker.keeper.ledger().keys)
  t.strictSame(
    records.filter(({ origin }) => origin === 'minted').map(({ item }) => item),
    [broker.keeper.profile('cloud').currentItem],
    'the old key, which was never handed out, is deleted and forgotten',
  )
  const named = Object.values(broker.journal.read().entries).flatMap((entry) =>
    entry.kind === 'rotation' ? [entry.keyName] : [],
  )
  t.ok(stage.orphans().length <= unknown, 'no key lives that nobody knows')
  for (const name of stage.orphans()) t.ok(named.includes(name), 'and it is named in the journal')
}

for (const step of STEPS) {
  for (const [name, fault] of Object.entries(FAULTS)) {
    t.test(`${step.name}, ${name}`, async (t) => {
      const stage = await setRenewalStage(t)
      const { sim, broker } = stage
      let disarm = () => {}
      let isArmed = false
      const arm = () => {
        if (isArmed) return
        isArmed = true
        const armed = sim.faults.always(step.matcher, fault)
        disarm = () => armed.disarm()
      }
      if (step.isLate !== true) arm()
      else broker.events.onEvent(({ type }) => type === 'renewal.started' && arm())
      const expected = Object.entries(step.cells).find(([key]) => key === name)?.[1]
      t.equal(await tell(stage), expected)
      disarm()
      // Prefect's own 404 for the old key is believed: it is gone.
      if (step.matcher.method === 'DELETE' && name === '404') return
      await checkAfterwards(t, stage, expected?.endsWith('lost') === true ? 1 : 0)
    })
  }
}

/** Steps of our own that fail: before anything was done, or after, with only the answer lost. */
const OWN: readonly (readonly [string, 'before' | 'after', ErrorCode, string])[] = [
  ['journal.update', 'before', 'disk_failed', 'old · not_now disk_failed · 0 · clean'],
  ['journal.update', 'after', 'disk_failed', 'old · not_now disk_failed · 0 · intended'],
  ['vault.prove', 'before', 'vault_locked', 'old · not_now vault_locked · 0 · clean'],
  ['vault.prove', 'before', 'vault_timeout', 'old · not_now vault_timeout · 0 · clean'],
  ['vault.put', 'before', 'vault_locked', 'old · not_now vault_locked · 1 · clean'],
  ['vault.put', 'after', 'vault_timeout', 'old · not_now vault_timeout · 1 · clean'],
  ['vault.put', 'before', 'vault_unavailable', 'old · not_now vault_unavailable · 1 · clean'],
  ['vault.delete', 'before', 'vault_locked', 'new · none · 1 · clean'],
]

for (const [step, when, code, expected] of OWN) {
  t.test(`${step} fails ${when} it is done: ${code}`, async (t) => {
    const stage = await setRenewalStage(t)
    const mend = stage.broker.saboteur.fail(step, when, () => new BrokerError(code, 'the test says so'))
    t.equal(await tell(stage), expected)
    mend()
    await checkAfterwards(t, stage, 0)
  })
}
