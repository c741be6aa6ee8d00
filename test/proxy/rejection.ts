/** Rejected keys: one 401 proves nothing, and a bad minute at Prefect takes no key out of service. */
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { createEvents } from '../../src/base/events.js'
import { createProxyRejection } from '../../src/proxy/rejection.js'
import { silentLog } from '../../src/std/log.js'
import { createFakeBroker } from '../fixtures/fake-broker.js'
import { createManualClock } from '../fixtures/manual-clock.js'

function start(item: string | null = 'item1') {
  const clock = createManualClock()
  const broker = createFakeBroker()
  broker.serve('cloud', item === null ? {} : { item })
  const done: string[] = []
  const cloud = { answer: 'key_rejected' as 'key_rejected' | 'prefect_failed' | 'good' }
  const { credentials } = broker.deps
  const served = credentials.serve('cloud')
  const deps = {
    credentials: { ...credentials, settle: async () => void done.push('settle') },
    keeper: { markRejected: async (name: string) => void done.push(`rejected ${name}`) },
    cloud: {
      async workspaces() {
        done.push('asked')
        if (cloud.answer !== 'good') throw new BrokerError(cloud.answer, 'no')
        return []
      },
    },
    ...{ clock, events: createEvents({ clock, epoch: 'x' }), log: silentLog() },
    renew: async () => void done.push('renew'),
  }
  const look = createProxyRejection(deps)
  const fingerprint = served.apiKey?.fingerprint() ?? ''
  return {
    clock,
    cloud,
    done,
    look: () => look('cloud', fingerprint),
    other: () => look('cloud', 'sha256:other'),
  }
}

t.test('checks once for many 401s at once, and keeps the key', async (t) => {
  const { done, look } = start()
  await Promise.all([look(), look(), look()])
  await look()
  t.same(done, ['renew', 'asked'])
})

t.test('rejects a key that has been refused for long enough', async (t) => {
  const { clock, done, look } = start()
  for (let count = 0; count < 4; count += 1) {
    await look()
    clock.pass(5_000)
  }
  t.same(done.slice(-3), ['asked', 'rejected item1', 'settle'])
  t.equal(done.filter((one) => one === 'asked').length, 4)
})

t.test('starts over after a good response', async (t) => {
  for (const answer of ['good'] as const) {
    const { clock, cloud, done, look } = start()
    await look()
    clock.pass(20_000)
    cloud.answer = answer
    await look()
    cloud.answer = 'key_rejected'
    clock.pass(6_000)
    await look()
    t.notMatch(done.join(), 'rejected item1', answer)
  }
})

t.test('does not ask about a key that is no longer served, and never rejects one in the file', async (t) => {
  const gone = start()
  await gone.other()
  t.same(gone.done, ['renew'])
  const file = start(null)
  for (let count = 0; count < 6; count += 1) {
    await file.look()
    file.clock.pass(5_000)
  }
  t.notMatch(file.done.join(), 'settle')
})
