/** Faults: each does what its name says, to matching requests only. */
import t from 'tap'
import type { Fault } from '../../sim/faults/faults.js'
import { type Simulator, startCloudSimulator } from '../../sim/simulator.js'

async function withSim(run: (sim: Simulator, me: () => Promise<Response>) => Promise<void>): Promise<void> {
  const sim = await startCloudSimulator()
  const authorization = `Bearer ${sim.issueKey()}`
  try {
    await run(sim, () => fetch(`${sim.apiUrl}/me/`, { headers: { authorization }, redirect: 'manual' }))
  } finally {
    await sim.close()
  }
}

const ME = { method: 'GET', path: '/api/me/' }

t.test('responds instead of the API', async (t) => {
  const cases: readonly { fault: Fault; status: number; type: RegExp | null; body: RegExp }[] = [
    {
      fault: { kind: 'status', status: 503, headers: { 'retry-after': '2' }, body: { detail: 'later' } },
      status: 503,
      type: /json/,
      body: /later/,
    },
    { fault: { kind: 'status', status: 500, body: 'not json' }, status: 500, type: null, body: /not json/ },
    { fault: { kind: 'html' }, status: 200, type: /html/, body: /guest network/ },
    { fault: { kind: 'redirect', location: 'http://127.0.0.1:9/' }, status: 307, type: null, body: /^$/ },
    { fault: { kind: 'wrong_types' }, status: 200, type: /json/, body: /"id":7/ },
    { fault: { kind: 'delay', ms: 1 }, status: 200, type: /json/, body: /terry/ },
  ]
  for (const { fault, status, type, body } of cases) {
    await withSim(async (sim, me) => {
      const armed = sim.faults.next(ME, fault)
      const answer = await me()
      t.equal(answer.status, status, fault.kind)
      if (type !== null) t.match(answer.headers.get('content-type'), type)
      t.match(await answer.text(), body)
      t.equal(armed.struck, 1)
      t.equal((await me()).status, 200, 'the next request is served')
    })
  }
})

t.test('cuts the connection', async (t) => {
  const cases: readonly Fault[] = [
    { kind: 'reset', when: 'before' },
    { kind: 'reset', when: 'after' },
  ]
  for (const fault of cases) {
    await withSim(async (sim, me) => {
      sim.faults.next(ME, fault)
      await t.rejects(me())
    })
  }
  await withSim(async (sim, me) => {
    sim.faults.next(ME, { kind: 'half' })
    const answer = await me()
    t.equal(answer.status, 200)
    await t.rejects(answer.text(), 'the body is cut short')
  })
})

t.test('a reset after processing has minted the key, a reset before has not', async (t) => {
  for (const { when, keys } of [
    { when: 'after', keys: 2 },
    { when: 'before', keys: 1 },
  ] as const) {
    const sim = await startCloudSimulator()
    t.teardown(() => sim.close())
    const key = sim.issueKey()
    sim.faults.next({ method: 'POST' }, { kind: 'reset', when })
    const minting = fetch(`${sim.apiUrl}/users/${sim.directory.user('terry').id}/api_keys`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}` },
      body: JSON.stringify({ name: 'lost' }),
    })
    await t.rejects(minting)
    t.equal(sim.keys.all().length, keys, when)
  }
})

t.test('never responds, or only when released', async (t) => {
  const sim = await startCloudSimulator()
  t.teardown(() => sim.close())
  const asked = (signal?: AbortSignal) =>
    fetch(`${sim.apiUrl}/health`, signal === undefined ? {} : { signal })

  sim.faults.next({}, { kind: 'silence' })
  await t.rejects(asked(AbortSignal.timeout(100)), { name: 'TimeoutError' })

  let release = () => {}
  const until = new Promise<void>((resolve) => {
    release = resolve
  })
  sim.faults.next({}, { kind: 'hold', until })
  let answered = false
  const held = asked().then((answer) => {
    answered = true
    return answer.status
  })
  t.equal((await asked()).status, 200, 'others pass')
  t.equal(answered, false)
  release()
  t.equal(await held, 200)
})

t.test('a fault may be decided when the request comes', async (t) => {
  await withSim(async (sim, me) => {
    const paths: string[] = []
    sim.faults.next(
      ME,
      ({ path }) => {
        paths.push(path)
        return paths.length === 1 ? { kind: 'status', status: 503 } : undefined
      },
      2,
    )
    t.strictSame([(await me()).status, (await me()).status, (await me()).status], [503, 200, 200])
    t.strictSame(paths, ['/api/me/', '/api/me/'])
  })
})

t.test('strikes only matching requests, as many times as armed', async (t) => {
  await withSim(async (sim, me) => {
    const down = { kind: 'status', status: 503 } as const
    sim.faults.next({ path: '/api/other' }, down)
    sim.faults.next({ key: 'sha256:000000000000' }, down)
    t.equal((await me()).status, 200)
    sim.faults.next({ path: /^\/api\/me/ }, down, 2)
    t.strictSame([(await me()).status, (await me()).status, (await me()).status], [503, 503, 200])
    const always = sim.faults.always(ME, down)
    t.strictSame([(await me()).status, (await me()).status], [503, 503])
    always.disarm()
    t.equal((await me()).status, 200)
  })
})
