import t from 'tap'
import { createEvents } from '../../src/base/events.js'
import { createManualClock } from '../fixtures/manual-clock.js'

t.test('numbers events, resumes from any number, and says if some are lost', async (t) => {
  const events = createEvents({ clock: createManualClock(), epoch: 'e' })
  t.strictSame(events.since(0), { events: [], isComplete: true })
  for (let index = 0; index < 1_003; index += 1) events.emit('vault.changed', { facts: { index } })
  const rows: readonly (readonly [number, number, boolean])[] = [
    [0, 1_000, false],
    [2, 1_000, false],
    [3, 1_000, true],
    [1_002, 1, true],
    [1_003, 0, true],
    [2_000, 0, false],
    [-1, 1_000, false],
  ]
  for (const [after, count, isComplete] of rows) {
    const found = events.since(after)
    t.strictSame([found.events.length, found.isComplete], [count, isComplete], `after ${after}`)
  }
})

t.test('calls a listener until it is removed', async (t) => {
  const events = createEvents({ clock: createManualClock(5), epoch: 'e' })
  const heard: unknown[] = []
  const stop = events.onEvent((event) => heard.push(event))
  events.emit('daemon.started')
  stop()
  events.emit('daemon.stopping')
  t.strictSame(heard, [{ seq: 1, at: 5, type: 'daemon.started', facts: {} }])
})

t.test('a failing listener stops neither the others nor the emitter', async (t) => {
  const events = createEvents({ clock: createManualClock(), epoch: 'e' })
  const heard: string[] = []
  events.onEvent(() => {
    throw new Error('no')
  })
  events.onEvent(({ type }) => heard.push(type))
  events.emit('daemon.started')
  t.strictSame(heard, ['daemon.started'])
})
