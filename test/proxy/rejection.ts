/** What a 401 to a job's request leads to: one question to Prefect about the key, whose answer decides what the key is worth. */
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { createProxyRejection } from '../../src/proxy/rejection.js'
import { createFakeBroker } from '../fixtures/fake-broker.js'
import { createManualClock } from '../fixtures/manual-clock.js'
import { memoryLog } from '../fixtures/memory-parts.js'

function start(keySource: 'vault' | 'file' = 'vault') {
  const clock = createManualClock()
  const broker = createFakeBroker()
  broker.serve('cloud', { item: 'item1' })
  const done: string[] = []
  const cloud = { answer: 'good' as 'key_rejected' | 'prefect_failed' | 'good' }
  const { credentials } = broker.deps
  const log = memoryLog()
  const look = createProxyRejection({
    credentials: { ...credentials, state: (name) => ({ ...credentials.state(name), keySource }) },
    cloud: {
      async workspaces() {
        done.push('asked')
        if (cloud.answer !== 'good') throw new BrokerError(cloud.answer, 'no')
        return []
      },
    },
    ...{ clock, log },
    renew: async () => void done.push('renew'),
  })
  const fingerprint = credentials.serve('cloud').apiKey?.fingerprint() ?? ''
  return {
    ...{ clock, cloud, done, log },
    look: () => look('cloud', fingerprint),
    other: () => look('cloud', 'sha256:other'),
  }
}

t.test('asks once for many 401s at once, and again some seconds later', async (t) => {
  const { clock, done, look } = start()
  await Promise.all([look(), look(), look()])
  await look()
  t.same(done, ['renew'])
  clock.pass(5_000)
  await look()
  t.same(done, ['renew', 'renew'])
})

t.test('asks about a key in the file itself, and never rejects', async (t) => {
  for (const answer of ['good', 'key_rejected', 'prefect_failed'] as const) {
    const { cloud, done, log, look } = start('file')
    cloud.answer = answer
    await look()
    t.same(done, ['asked'])
    t.equal(log.lines.length, answer === 'prefect_failed' ? 1 : 0)
  }
})

t.test('does not ask about a key that is no longer served', async (t) => {
  const { done, other } = start()
  await other()
  t.same(done, [])
})
