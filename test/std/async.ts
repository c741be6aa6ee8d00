import t from 'tap'
import { createSerial, createSingleFlight } from '../../src/std/async.js'

t.test('serial work runs in order, one at a time, even after failures', async (t) => {
  const serial = createSerial()
  const seen: string[] = []
  const work = (name: string, ms: number, fails = false) =>
    serial.run(async () => {
      seen.push(`${name} begins`)
      await new Promise((resolve) => setTimeout(resolve, ms))
      seen.push(`${name} ends`)
      if (fails) throw new Error(name)
      return name
    })
  const all = await Promise.allSettled([work('a', 10), work('b', 1, true), work('c', 0)])
  t.strictSame(seen, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  t.match(all, [{ value: 'a' }, { reason: /b/ }, { value: 'c' }])
})

t.test('single flight shares one piece of work per key, and starts again afterwards', async (t) => {
  const flights = createSingleFlight<number>()
  let runs = 0
  const work = async () => {
    runs += 1
    await new Promise((resolve) => setTimeout(resolve, 5))
    return runs
  }
  const [one, other, another] = await Promise.all([
    flights.run('a', work),
    flights.run('a', work),
    flights.run('b', work),
  ])
  t.equal(one, other)
  t.equal(runs, 2)
  t.ok(another)
  t.equal(flights.isRunning('a'), false)
  await flights.run('a', work)
  t.equal(runs, 3)
})

t.test('single flight passes a failure to everyone, even an immediate one, and starts again', async (t) => {
  const flights = createSingleFlight<number>()
  const fail = async () => {
    throw new Error('no')
  }
  const failNow = (): Promise<number> => {
    throw new Error('at once')
  }
  const both = await Promise.allSettled([flights.run('a', fail), flights.run('a', fail)])
  t.match(both, [{ reason: /no/ }, { reason: /no/ }])
  await t.rejects(flights.run('a', failNow), /at once/)
  t.equal(await flights.run('a', async () => 1), 1)
})
