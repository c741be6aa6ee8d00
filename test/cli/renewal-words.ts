/** Renewals and their events in words. */
import t from 'tap'
import { describeEvent } from '../../src/cli/commands/events.js'
import { describeOldKeys, describeRenewal } from '../../src/cli/status-text.js'
import { renewalView } from '../../src/wire/keys.js'

const NOW = Date.UTC(2026, 0, 2)
const view = (changes: object) => renewalView.parse({ plan: 'scheduled', old_keys: [], ...changes })

const PLANS = [
  [{ at: '2026-01-20T00:00:00.000Z' }, 'in 18 days (2026-01-20)'],
  [{ at: '2026-01-01T00:00:00.000Z' }, 'due now'],
  [
    { at: '2026-01-20T00:00:00.000Z', last: { at: '2026-01-01T00:00:00.000Z', outcome: 'done' } },
    'in 18 days (2026-01-20), last on 2026-01-01',
  ],
  [
    { at: '2026-01-01T00:00:00.000Z', last: { at: '2026-01-01T00:00:00.000Z', outcome: 'failed' } },
    'due now, last attempt failed on 2026-01-01',
  ],
  [{ plan: 'not_renewable', why: 'it was pasted\u001b[31m' }, 'not possible: it was pasted[31m'],
  [{ plan: 'not_needed', why: 'x' }, 'not needed'],
] as const

t.test('describes the plan and the last renewal in one line', async (t) => {
  for (const [changes, line] of PLANS) t.equal(describeRenewal(view(changes), NOW), line)
})

t.test('lists old keys with their expiry, and nothing if there are none', async (t) => {
  const old = { fingerprint: 'sha256:1', handed_out: true, retired_at: '2026-01-01T00:00:00.000Z' }
  t.equal(describeOldKeys(view({})), undefined)
  t.equal(
    describeOldKeys(view({ old_keys: [{ ...old, expires_at: '2026-01-20T00:00:00.000Z' }] })),
    '1 still valid: sha256:1 until 2026-01-20',
  )
  t.match(
    describeOldKeys(view({ old_keys: [old, old, old, old] })),
    /^4 still valid: .*\(expiry unknown\).*\.\.\.$/,
  )
})

t.test('prints events of a renewal as sentences, others as facts', async (t) => {
  const line = (type: string, facts: Record<string, string | number>) =>
    describeEvent({ id: 'a-1', at: '2026-01-01T00:00:00.000Z', type, profile: 'cloud', facts })
  t.match(line('renewal.started', { fingerprint: 'sha256:1' }), /renewing key sha256:1$/)
  t.match(line('renewal.done', { fingerprint: 'sha256:2' }), /new key sha256:2$/)
  t.match(
    line('renewal.failed', { message: 'no answer', code: 'prefect_unreachable', retry_in_s: 9 }),
    /no answer \(prefect_unreachable\); retry in 9 s, the old key stays in use$/,
  )
  t.match(line('renewal.warning', { message: 'it ends', hint: 'do this' }), /it ends; try: do this$/)
  t.match(line('key.stored', { origin: 'minted' }), /origin=minted$/)
})
