/** A request as it is asked about: what is kept of it while it waits. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { readRequest } from '../../src/asks/request.js'
import { briefly, namesIn, sentenceOf } from '../../src/asks/sentence.js'
import type { Visit } from '../../src/proxy/admission.js'

const FLOW = '0e0b8a53-8d7a-4b9e-9a57-2f0d7a1f0002'

const visit: Visit = {
  caller: { door: 'tcp' },
  isStranger: false,
  target: { profile: 'server', prefix: '/proxy/server/api', path: '/deployments/', query: '' },
  served: { profile: 'server', kind: 'server', apiUrl: 'http://h/api', because: '', generation: 1 },
  upstream: { origin: 'http://h', host: 'h', basePath: '/api' },
}
const asked = (body: string, headers: Record<string, string> = {}) =>
  readRequest({ method: 'POST', headers }, visit, { kind: 'whole', bytes: Buffer.from(body) })

setFlagsFromString('--expose-gc')
const gc: () => void = runInNewContext('gc')

/** Bytes in use; what is freed late is freed by the second time. */
async function inUse(): Promise<number> {
  for (let round = 0; round < 3; round += 1) {
    gc()
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

t.test('a large body is not kept, whatever is in it', async (t) => {
  const MIB = 1024 * 1024
  const bodies = [
    `{"name":"x","parameters":[${'[],'.repeat(MIB / 4)}[]]}`,
    `{"name":"x","parameters":"${'y'.repeat(MIB)}"}`,
    `{"name":"${'y'.repeat(MIB)}"}`,
    `{${Array.from({ length: 20_000 }, (_, at) => `"n${at}":"a value that is not short"`).join()}}`,
  ]
  for (const body of bodies) {
    const before = await inUse()
    const kept = Array.from({ length: 10 }, () => {
      const { spoken, ...rest } = asked(body)
      return { ...rest, spoken: briefly(spoken) }
    })
    const more = (await inUse()) - before
    t.ok(more < kept.length * 256 * 1024, `${kept.length} questions keep ${Math.round(more / 1024)} KiB`)
  }
})

t.test('what the sentence and the names need is kept', async (t) => {
  const { spoken: whole } = asked(`{"name":"nightly","flow_id":"${FLOW}","parameters":{"a":[1]}}`)
  const spoken = briefly(whole)
  t.same(namesIn(spoken), [['flows', FLOW]])
  t.equal(
    sentenceOf(spoken, () => 'Testing'),
    'create or change deployment Testing/nightly in profile server',
  )
})

t.test('the body to look at is cut between characters', async (t) => {
  const { body } = asked(`"${'ü'.repeat(64 * 1024)}"`)
  t.match(body, { isCut: true, text: /^"ü+$/ })
})
