import t from 'tap'
import { nextDutyInMs } from '../../src/renewal/due.js'
import { DAY, setRenewalStage } from '../fixtures/renewal-stage.js'

t.test('names the next duty: the renewal, and the deletion of the key before', async (t) => {
  const retireAfterMs = 3 * DAY
  const { broker, clock, finish } = await setRenewalStage(t, {
    ageMs: 10 * DAY,
    isHandedOut: true,
    retireAfterMs,
  })
  const { keeper, credentials, times } = broker
  const at = (ms: number | undefined) => (ms === undefined ? undefined : clock.now() + ms)
  const next = (more: { readonly retireAfterMs?: number } = { retireAfterMs }) =>
    at(nextDutyInMs({ keeper, credentials, times, ...more }))
  const planned = credentials.state('cloud').key?.expiresAt ?? 0
  const first = next() ?? 0
  t.ok(first < planned - 10 * DAY && first >= planned - 12 * DAY, 'after two thirds of its life')
  await finish(broker.renewer.renew('cloud', { isForced: true }))
  const renewedAt = clock.now()
  const deletion = next() ?? 0
  t.ok(Math.abs(deletion - renewedAt - retireAfterMs) < 60_000, 'the old key comes first now')
  t.ok((next({}) ?? 0) > renewedAt + 17 * DAY, 'unless old keys are left to expire')
  clock.pass(4 * DAY)
  t.ok((next() ?? 0) > renewedAt + 17 * DAY, 'a deletion that is overdue and fails holds nobody')
})

t.test('names the next warning for a key that cannot be renewed', async (t) => {
  const { broker, clock } = await setRenewalStage(t, { ageMs: 0 })
  const { keeper, credentials, times } = broker
  const at = (ms: number | undefined) => (ms === undefined ? undefined : clock.now() + ms)
  const next = () => at(nextDutyInMs({ keeper, credentials, times }))
  const item = keeper.profile('cloud').currentItem ?? ''
  const expiresAt = keeper.ledger().keys[item]?.expiresAt ?? 0
  await keeper.note('cloud', { owner: { kind: 'service_account', id: 'b', handle: 'bot' } })
  t.equal(next(), expiresAt - 7 * DAY)
  clock.pass(23 * DAY + 5_000)
  t.equal(next(), expiresAt - 7 * DAY, 'until the tick that says it')
  clock.pass(DAY - 5_000)
  t.equal(next(), expiresAt - 3 * DAY)
  clock.pass(7 * DAY)
  t.equal(next(), undefined, 'after its end there is nothing left to say')
})
