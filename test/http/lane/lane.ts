/** The lane in front of Node's parser: with it and without, the same bytes get the same answers, and do the same. */
import t, { type Test } from 'tap'
import { BrokerError } from '../../../src/base/errors.js'
import { defined } from '../../../src/std/defined.js'
import { REAL_KEY } from '../../fixtures/proxy-under-test.js'
import { ANSWERS } from '../fixtures/answers.js'
import { converse, type Lane, startLane, startScriptedUpstream } from '../fixtures/lanes.js'
import {
  hotTalks,
  mixedTalks,
  one,
  type People,
  peopleOf,
  proxyTalks,
  request,
  type Talk,
} from '../fixtures/talks.js'

t.setTimeout(120_000)

/** Plays it against one daemon; what was heard, by talk. */
async function playAll(lane: Lane, talksOf: (lane: Lane, people: People) => readonly Talk[]) {
  const people = await peopleOf(lane)
  const heard: { name: string; text: string; parsed: number; isPlain: boolean }[] = []
  for (const { name, door, steps, isPlain } of talksOf(lane, people)) {
    lane.upstream.again()
    let text = ''
    const parsed = await lane.parsed(async () => {
      text = await converse(lane.proxy[door], steps)
    })
    heard.push({ name, text: lane.plain(text), parsed, isPlain })
  }
  return heard
}

/** How much of a large body comes in one piece is chance. */
function joined(text: string): string {
  return text.replace(/(?:^|\r\n)[0-9a-f]+\r\n(?=[^\r])/g, '')
}

async function playBoth(t: Test, talksOf: (lane: Lane, people: People) => readonly Talk[], limits = {}) {
  const upstream = await startScriptedUpstream(t, ANSWERS)
  const [on, off] = [await startLane(t, 'on', upstream, limits), await startLane(t, 'off', upstream, limits)]
  const heard = await playAll(on, talksOf)
  const done = await on.effects()
  const expected = await playAll(off, talksOf)
  t.equal(heard.length, expected.length)
  for (const [at, { name, text, parsed, isPlain }] of heard.entries()) {
    const [ours, theirs] = [text, expected[at]?.text ?? ''].map(
      name.endsWith('largechunks') ? joined : (all) => all,
    )
    if (ours !== theirs) t.equal(ours, theirs, name)
    if (isPlain !== (parsed === 0)) t.fail(`${name}: Node's parser had ${parsed} of it`)
    if (text.includes(REAL_KEY) && !/PREFECT_API_KEY/.test(text)) t.fail(`${name}: the key got out`)
  }
  t.strictSame(done, await off.effects())
  return heard
}

t.test('answers what is asked again and again in the same way', async (t) => {
  const heard = await playBoth(t, (_lane, people) => hotTalks(people))
  t.ok(heard.length > 20)
})

t.test('proxies in the same way, whatever the upstream answers', async (t) => {
  const heard = await playBoth(t, ({ base }, people) => proxyTalks(base, people))
  const statuses = new Set(heard.map(({ text }) => text.slice(9, 12)))
  for (const status of ['200', '204', '304', '401', '403', '404', '421', '502', '503'])
    t.ok(statuses.has(status), status)
})

t.test('hands a connection over in the middle, and nobody notices', async (t) => {
  await playBoth(t, ({ base }, people) => mixedTalks(base, people))
})

t.test('a profile that cannot be served parks in the same way', async (t) => {
  const refuse = (lane: Lane) =>
    lane.proxy.broker.refuse(
      'cloud',
      new BrokerError('login_required', 'no key', { hint: 'prefect-auth login' }),
    )
  await playBoth(t, (lane, people) => {
    refuse(lane)
    return [
      one('parked', people.job, request(people.job, 'GET', `${lane.base}/x?as=length`)),
      one(
        'parked, with a body',
        people.job,
        request(people.job, 'POST', `${lane.base}/x?as=length`, [], '{}'),
      ),
      one('no credentials', people.use, request(people.use, 'GET', '/v1/credentials'), false),
      one('no variables', people.use, request(people.use, 'GET', '/v1/env'), false),
    ]
  })
})

/** Where a request is cut in two: everywhere, or in so many places of a long one. */
function cutsOf(bytes: string): readonly number[] {
  const step = Math.ceil(bytes.length / 300)
  return Array.from({ length: bytes.length - 1 }, (_, at) => at + 1).filter((at) => at % step === 0)
}

/** So many at once that none has to go because strangers have no place. */
function inTurns<T>(all: readonly T[]): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(all.length / 100) }, (_, at) => all.slice(at * 100, at * 100 + 100))
}

const PAUSES = [undefined, 0, 60] as const

t.test('answers a request that comes in two pieces, wherever it is cut', async (t) => {
  const upstream = await startScriptedUpstream(t, ANSWERS)
  const lanes = [await startLane(t, 'on', upstream), await startLane(t, 'off', upstream)] as const
  const [ours, theirs] = await Promise.all(
    lanes.map(async (lane) => {
      const { owner, use, job } = await peopleOf(lane)
      const requests = [
        [owner, request(owner, 'GET', '/v1/env')],
        [use, request(use, 'GET', '/v1/credentials?profile=cloud')],
        [job, request(job, 'GET', `${lane.base}/x?as=length`, ['Connection: keep-alive'])],
        [
          job,
          request(
            job,
            'POST',
            `${lane.base}/x?as=chunks`,
            ['Content-Type: application/json'],
            '{"a":"\r\n\r\n"}',
          ),
        ],
        [job, request(job, 'PUT', `${lane.base}/x?as=length`, ['Connection: close'], '{}')],
      ] as const
      const heard = new Map<string, string[]>()
      for (const [who, bytes] of requests) {
        for (const pauseMs of PAUSES) {
          const say = (cut: number) => ({
            say: [bytes.slice(0, cut), bytes.slice(cut)],
            ...defined({ pauseMs }),
          })
          // And the next one, on the same connection.
          const next = { say: [request(who, 'GET', '/livez')] }
          const texts: string[] = []
          for (const some of inTurns(cutsOf(bytes))) {
            texts.push(
              ...(await Promise.all(some.map((cut) => converse(lane.proxy[who.door], [say(cut), next])))),
            )
          }
          heard.set(`${bytes.slice(0, 40)} ${pauseMs}`, [...new Set(texts.map(lane.plain))])
        }
      }
      return heard
    }),
  )
  t.strictSame(ours, theirs)
  for (const [name, [first, ...others]] of ours ?? [])
    t.strictSame(others, [], `${name}: as ${first?.slice(0, 40)}`)
})

t.test('half a body and the end: refused in the same way', async (t) => {
  const upstream = await startScriptedUpstream(t, ANSWERS)
  const [ours, theirs] = await Promise.all(
    (['on', 'off'] as const).map(async (recogniser) => {
      const lane = await startLane(t, recogniser, upstream)
      const { owner } = await peopleOf(lane)
      const say = request(owner, 'POST', `${lane.base}/x?as=length`, [], 'whole').slice(0, -2)
      const steps = [{ say: [say], answers: 0 }, { do: 'half-close' }, { do: 'hear the end' }] as const
      return lane.plain(await converse(lane.proxy.socket, steps))
    }),
  )
  t.equal(ours, theirs)
  t.match(ours, /^HTTP\/1\.1 400 /)
  t.strictSame(upstream.take(), [])
})
