/** Which events become notices, and that none is lost at the end. */

import t from 'tap'
import { createEvents, type EventFacts, type EventType } from '../../src/base/events.js'
import { type Notice, notifyPeople } from '../../src/status/notify.js'
import { createManualClock } from '../fixtures/manual-clock.js'

const warning = (days: number) => ({ days, message: 'the key ends', hint: 'prefect-auth login' })
const ROWS: readonly (readonly [EventType, EventFacts, string | undefined])[] = [
  ['renewal.warning', warning(7), 'Prefect: an API key expires within 7 days'],
  ['renewal.warning', warning(1), 'Prefect: an API key expires within a day'],
  ['renewal.warning', warning(0), 'Prefect: an API key has expired'],
  ['key.rejected', { fingerprint: 'sha256:0' }, 'Prefect: login required'],
  ['page.alarm', {}, 'prefect-auth: a page link was used twice'],
  ['page.opened', {}, undefined],
  ['renewal.failed', { code: 'prefect_failed' }, undefined],
  ['renewal.done', { fingerprint: 'sha256:0' }, undefined],
]

t.test('sends a notice, with a command, exactly for the events that need a person', async (t) => {
  for (const [type, facts, title] of ROWS) {
    const events = createEvents({ clock: createManualClock(), epoch: 'x' })
    const told: Notice[] = []
    const hush = notifyPeople({ events, notify: async (notice) => void told.push(notice) })
    events.emit(type, { profile: 'cloud', facts })
    await hush()
    events.emit(type, { profile: 'cloud', facts })
    t.strictSame(
      told.map((notice) => notice.title),
      title === undefined ? [] : [title],
    )
    for (const { body } of told) t.match(body, /\nNow: prefect-auth (login|audit)/)
  }
})

t.test('waits at the end for a notice that is being sent', async (t) => {
  const events = createEvents({ clock: createManualClock(), epoch: 'x' })
  let isShown = false
  const notify = async () => {
    await new Promise((resolve) => setTimeout(resolve, 5))
    isShown = true
  }
  const hush = notifyPeople({ events, notify })
  events.emit('key.rejected', { profile: 'cloud', facts: {} })
  await hush()
  t.equal(isShown, true)
})
