import t from 'tap'
import { sleep, systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { startTicking } from '../../src/std/tick.js'
import { backoffMs, formatDuration, parseDuration, parseMoment } from '../../src/std/time.js'
import { createManualClock } from '../fixtures/manual-clock.js'

t.test('reads durations, and nothing else', async (t) => {
  const rows: readonly [string, number | undefined][] = [
    ['90s', 90_000],
    ['15m', 900_000],
    ['8h', 28_800_000],
    ['30d', 2_592_000_000],
    ['500ms', 500],
    ['1.5h', 5_400_000],
    [' 2 d ', 172_800_000],
    ['0s', 0],
    ...['', '5', 's', '-1s', '1e3s', '1w', '1 s s', '٣s', '1.s', '9'.repeat(30).concat('d')].map(
      (text): [string, undefined] => [text, undefined],
    ),
  ]
  for (const [text, ms] of rows) t.equal(parseDuration(text), ms, JSON.stringify(text))
})

t.test('reads dates and times that a calendar has, and nothing else', async (t) => {
  const rows: readonly [string, string | undefined][] = [
    ['2027-01-31', '2027-01-31T00:00:00.000Z'],
    [' 2027-01-31 ', '2027-01-31T00:00:00.000Z'],
    ['2027-01-31T18:00Z', '2027-01-31T18:00:00.000Z'],
    ['2027-01-31T18:00:00.5+02:00', '2027-01-31T16:00:00.500Z'],
    ['2027-01-31t18:00:00z', '2027-01-31T18:00:00.000Z'],
    ['2028-02-29', '2028-02-29T00:00:00.000Z'],
    ...['2027-02-29', '2027-02-30', '2027-13-01', '2027-00-10', '2027-1-31', '2027-01-31T25:00Z'].map(
      (text): [string, undefined] => [text, undefined],
    ),
    ...[
      '2027-01-31T18:00',
      '2027-01-31T18:00:00',
      '31.01.2027',
      '01/31/2027',
      'tomorrow',
      '',
      '2027',
      '1e9',
    ].map((text): [string, undefined] => [text, undefined]),
  ]
  for (const [text, time] of rows) {
    const at = parseMoment(text)
    t.equal(at === undefined ? undefined : new Date(at).toISOString(), time, JSON.stringify(text))
  }
})

t.test('formats durations in the largest whole unit', async (t) => {
  const rows: readonly [number, string][] = [
    [7_776_000_000, '90d'],
    [45_000, '45s'],
    [5_400_000, '90m'],
    [3_600_000, '1h'],
    [1_500, '1500ms'],
    [0, '0s'],
    [-90_000, '-90s'],
  ]
  for (const [ms, text] of rows) {
    t.equal(formatDuration(ms), text)
    if (ms >= 0) t.equal(parseDuration(text), ms)
  }
})

t.test('backoff doubles up to a cap, with full jitter', async (t) => {
  const policy = { firstMs: 1_000, maxMs: 300_000 }
  const rows: readonly [number, number][] = [
    [1, 1_000],
    [2, 2_000],
    [9, 256_000],
    [10, 300_000],
    [10_000, 300_000],
  ]
  for (const [attempt, ms] of rows)
    t.equal(
      backoffMs(attempt, policy, () => 1),
      ms,
    )
  t.equal(
    backoffMs(5, policy, () => 0),
    0,
  )
  t.equal(
    backoffMs(1, policy, () => 0.5),
    500,
  )
})

t.test('a timer longer than Node supports does not fire at once', async (t) => {
  const clock = systemClock()
  let fired = false
  const timer = clock.after(2 ** 40, () => {
    fired = true
  })
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.equal(fired, false)
  timer.cancel()
  timer.cancel()
})

t.test('sleep ends in time, or with the reason of the signal', async (t) => {
  const clock = createManualClock()
  let isOver = false
  const slept = sleep(clock, 1_000).then(() => {
    isOver = true
  })
  clock.pass(999)
  await Promise.resolve()
  t.equal(isOver, false)
  clock.pass(1)
  await slept
  const abort = new AbortController()
  const aborted = sleep(clock, 1_000, abort.signal)
  abort.abort(new Error('enough'))
  await t.rejects(aborted, /enough/)
  await t.rejects(sleep(clock, 1_000, AbortSignal.abort(new Error('before'))), /before/)
})

t.test('never ticks twice at once, goes on after a failure, and close waits for the last tick', async (t) => {
  const clock = createManualClock()
  let running = 0
  let runs = 0
  let finish = () => {}
  const ticking = startTicking({
    clock,
    everyMs: 1_000,
    log: silentLog(),
    async run() {
      runs += 1
      running += 1
      t.equal(running, 1)
      await new Promise<void>((resolve) => {
        finish = resolve
      })
      running -= 1
      if (runs === 1) throw new Error('no')
    },
  })
  const settle = () => new Promise((resolve) => setImmediate(resolve))
  clock.pass(10_000)
  t.equal(runs, 1)
  finish()
  await settle()
  clock.pass(1_000)
  t.equal(runs, 2, 'after a failure')
  let isClosed = false
  const closed = ticking.close().then(() => {
    isClosed = true
  })
  await settle()
  t.equal(isClosed, false)
  finish()
  await closed
  clock.pass(10_000)
  await settle()
  t.equal(runs, 2)
})

t.test('tickers of one interval run at the same moments, and at none twice', async (t) => {
  const clock = createManualClock()
  const beats: string[] = []
  const start = (name: string) =>
    startTicking({
      clock,
      everyMs: 30_000,
      log: silentLog(),
      async run() {
        beats.push(`${name} ${clock.monotonic() % 30_000}`)
      },
    })
  const settle = () => new Promise((resolve) => setImmediate(resolve))
  clock.pass(30_000 - (clock.monotonic() % 30_000) + 1_000)
  const tickings = [start('first')]
  clock.pass(12_345)
  tickings.push(start('second'))
  for (let beat = 0; beat < 2; beat += 1) {
    clock.pass(30_000 - (clock.monotonic() % 30_000))
    await settle()
  }
  t.same(beats, ['first 0', 'second 0', 'first 0', 'second 0'])
  clock.pass(29_950)
  tickings.push(start('late'))
  clock.pass(50)
  await settle()
  t.notMatch(beats.join(), /late/, 'what may have been a timer that came early is over')
  for (const ticking of tickings) await ticking.close()
})
