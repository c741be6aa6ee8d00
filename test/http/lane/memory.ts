/** What the lane remembers of a connection outlives no change: the same bytes again are judged anew, as without it. */
import t from 'tap'
import { BrokerError } from '../../../src/base/errors.js'
import { defined } from '../../../src/std/defined.js'
import { ANSWERS } from '../fixtures/answers.js'
import { converse, type Lane, startLane, startScriptedUpstream } from '../fixtures/lanes.js'
import { type People, peopleOf, request, type Who } from '../fixtures/talks.js'

t.setTimeout(120_000)

interface Change {
  readonly name: string
  readonly make: (lane: Lane) => unknown
  /** Statuses of a hot answer of the token's and of the owner's, and of a proxied one of a job's. */
  readonly after: readonly [use: string, owner: string, job: string]
}

const refuse = (error: BrokerError) => (lane: Lane) => lane.proxy.broker.refuse('cloud', error)
const agent = ({ proxy }: Lane) =>
  proxy.broker.deps.tokens.createForJob({ name: 'claude', profile: 'cloud', isAgent: true })

const CHANGES: readonly Change[] = [
  { name: 'nothing', make: () => undefined, after: ['200', '200', '200'] },
  {
    name: 'the tokens are revoked',
    make: ({ proxy }) => Promise.all(['tok1', 'tok2'].map((id) => proxy.broker.deps.tokens.revoke(id))),
    after: ['401', '200', '401'],
  },
  { name: 'the tokens expire', make: ({ clock }) => clock.pass(3_600_001), after: ['401', '200', '401'] },
  {
    name: 'the key is another',
    make: ({ proxy }) => proxy.broker.serve('cloud', { generation: 99 }),
    after: ['200', '200', '200'],
  },
  {
    name: 'the profile is gone',
    make: refuse(new BrokerError('profile_not_found', 'there is no profile of that name')),
    after: ['404', '404', '503'],
  },
  {
    name: 'there is no key',
    make: refuse(new BrokerError('login_required', 'no key')),
    after: ['401', '401', '503'],
  },
  {
    name: 'another profile is active',
    make: ({ proxy }) => proxy.broker.activate('server'),
    after: ['200', '200', '200'],
  },
  { name: 'an agent has begun', make: agent, after: ['200', '403', '200'] },
  {
    name: 'an agent has begun and ended',
    make: async (lane) => lane.proxy.broker.deps.tokens.revoke((await agent(lane)).facts.id),
    after: ['200', '200', '200'],
  },
]

/** Before and after the change, on one connection, the very same bytes; and again, and once more on a new one. */
async function repeat(lane: Lane, who: Who, bytes: string, { make }: Change): Promise<string> {
  const say = { say: [bytes] }
  const steps = [say, say, { act: () => make(lane) }, say, say]
  const heard = await converse(lane.proxy[who.door], steps)
  return lane.plain(`${heard}\n${await converse(lane.proxy[who.door], [say])}`)
}

const lastStatus = (heard: string) => [...heard.matchAll(/HTTP\/1\.1 (\d+)/g)].at(-1)?.[1]

for (const change of CHANGES) {
  t.test(`looks again: ${change.name}`, async (t) => {
    const upstream = await startScriptedUpstream(t, ANSWERS)
    const askers = ({ use, owner, job }: People, base: string) =>
      [
        [use, request(use, 'GET', '/v1/credentials')],
        [use, request(use, 'GET', '/v1/env')],
        [owner, request(owner, 'GET', '/v1/credentials')],
        [owner, request(owner, 'GET', `${base}/x?as=length`)],
        [job, request(job, 'GET', `${base}/x?as=length`)],
        [job, request(job, 'POST', `${base}/x?as=length`, [], '{"a":1}')],
      ] as const
    const told: { heard: string[]; effects: unknown }[] = []
    for (const recogniser of ['on', 'off'] as const) {
      const heard: string[] = []
      const effects: unknown[] = []
      for (let at = 0; at < 6; at += 1) {
        const lane = await startLane(t, recogniser, upstream)
        const [who, bytes] = askers(await peopleOf(lane), lane.base)[at] ?? []
        if (who !== undefined && bytes !== undefined) heard.push(await repeat(lane, who, bytes, change))
        effects.push(await lane.effects())
      }
      told.push({ heard, effects })
    }
    t.strictSame(told[0], told[1])
    const [use, , owner, , job] = told[0]?.heard.map(lastStatus) ?? []
    t.strictSame([use, owner, job], change.after)
  })
}

t.test('counts places and closes in between in the same way', async (t) => {
  const upstream = await startScriptedUpstream(t, ANSWERS)
  const told: unknown[] = []
  for (const recogniser of ['on', 'off'] as const) {
    const lane = await startLane(t, recogniser, upstream)
    const { job, use } = await peopleOf(lane)
    const places = { strangers: 4, known: 8, perToken: 1, strangerMs: 60_000 }
    const door = lane.proxy.app.openServer('tcp', { limits: { places } })
    await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve))
    const address = door.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const own = (who: Who): Who => ({ ...who, host: `127.0.0.1:${port}` })
    const place = { port, host: '127.0.0.1' } as const
    const proxied = { say: [request(own(job), 'GET', `${lane.base}/x?as=length`)] }
    const heard: string[] = []
    await converse(place, [
      proxied,
      // The token has its one place: a second connection is refused, the first goes on, and so does another token.
      { act: async () => heard.push(await converse(place, [proxied])) },
      {
        act: async () => heard.push(await converse(place, [{ say: [request(own(use), 'GET', '/v1/env')] }])),
      },
      proxied,
      { act: () => lane.proxy.app.crowds().map(({ tokens }) => heard.push(JSON.stringify(tokens))) },
    ])
    heard.push(
      await converse(place, [
        { say: [request(own(use), 'GET', '/v1/env')] },
        // It has nothing to do, and is closed.
        { act: () => void lane.proxy.app.close() },
        { do: 'hear the end' },
      ]),
    )
    told.push(heard.map((text) => lane.plain(text).replaceAll(String(port), 'OTHER')))
  }
  t.strictSame(told[0], told[1])
  t.match(told[0], [/^HTTP\/1\.1 429 /, /^HTTP\/1\.1 200 /])
})

t.test('a request under way when the daemon stops is answered, and its connection closed', async (t) => {
  const upstream = await startScriptedUpstream(t, ANSWERS)
  const told: unknown[] = []
  for (const recogniser of ['on', 'off'] as const) {
    const lane = await startLane(t, recogniser, upstream)
    const { job } = await peopleOf(lane)
    const say = (as: string) => request(job, 'GET', `${lane.base}/x?as=${as}`)
    let closed: Promise<void> | undefined
    const heard = await converse(lane.proxy.tcp, [
      { say: [say('length')] },
      { say: [say('slow')], answers: 0 },
      { act: () => new Promise((resolve) => setImmediate(resolve)) },
      {
        act: () => {
          closed = lane.proxy.app.close()
        },
      },
      { do: 'hear the end' },
    ])
    await closed
    told.push(defined({ heard: lane.plain(heard), sent: upstream.take().length }))
  }
  t.strictSame(told[0], told[1])
})
