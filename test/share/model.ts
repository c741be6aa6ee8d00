/**
 * Random lives of a fleet: kills and stops at every step and aimed at the mint, lost answers, answers of Prefect ten seconds
 * old, a store that is away or restored from a backup. PAB_LONG=1 runs thousands. A failure prints the seed; PAB_SEED runs it
 * again.
 */
import t from 'tap'
import { LOST_IN_A_ROW, stalenessMs } from '../../src/share/pace.js'
import { type Life, live, type Outcome } from './fixtures/fleet.js'

t.setTimeout(process.env.PAB_LONG === '1' ? 7_200_000 : 240_000)
const isLong = process.env.PAB_LONG === '1'
const one = process.env.PAB_SEED === undefined ? undefined : Number(process.env.PAB_SEED)
const COMMON: Omit<Life, 'seed'> = {
  rule: 'independent',
  hours: 10,
  rotators: 5,
  readers: 8,
  faultsInARow: LOST_IN_A_ROW,
  overlap: 1,
  hasFaults: true,
  mayRestore: true,
}

function sum(lives: readonly Outcome[], what: (life: Outcome) => number): number {
  return lives.reduce((total, life) => total + what(life), 0)
}

function liveAll(
  count: number,
  how: Partial<Life>,
  first = 1,
): readonly (Outcome & { readonly seed: number })[] {
  const seeds = one === undefined ? Array.from({ length: count }, (_, index) => first + index) : [one]
  return seeds.map((seed) => ({ seed, ...live({ ...COMMON, ...how, seed }) }))
}

t.test('no job reads a dead key while the overlap is as the formula says', async (t) => {
  const lives = liveAll(isLong ? 5000 : 60, {})
  for (const { seed, deadReads, wrongs } of lives) {
    if (deadReads > 0 || wrongs.length > 0) t.fail(`seed ${seed}: ${deadReads} reads, ${wrongs.join('; ')}`)
  }
  t.comment(summary(lives))
  const mints = sum(lives, (life) => life.mints)
  t.ok(mints <= sum(lives, (life) => life.rotations + life.lost + life.lateMints), 'no mint without a reason')
  // A test that never loses an answer proves nothing.
  if (one === undefined) t.ok(sum(lives, (life) => life.lost) > lives.length, 'answers were lost')
})

t.test(
  'a rotation that nobody disturbs mints once, also if Prefect keeps only one previous key',
  async (t) => {
    const lives = liveAll(isLong ? 500 : 10, { rule: 'one_previous', hasFaults: false, mayRestore: false })
    t.strictSame(
      lives.filter(
        ({ deadReads, wrongs, mints, rotations }) => deadReads + wrongs.length > 0 || mints !== rotations,
      ),
      [],
    )
    t.comment(summary(lives))
  },
)

t.test(
  'if Prefect keeps only one previous key, a lost answer costs reads, and the fleet recovers',
  async (t) => {
    const lives = liveAll(isLong ? 1000 : 15, { rule: 'one_previous' })
    t.comment(summary(lives))
    for (const { seed, wrongs } of lives) if (wrongs.length > 0) t.fail(`seed ${seed}: ${wrongs.join('; ')}`)
    t.ok(sum(lives, (life) => life.deadReads) < sum(lives, (life) => life.reads) / 100)
  },
)

t.test(
  'the overlap matters: if Prefect grants a twentieth of it, jobs read dead keys',
  { skip: one !== undefined },
  async (t) => {
    const lives = liveAll(isLong ? 200 : 10, { overlap: 0.05 })
    t.comment(summary(lives))
    t.ok(sum(lives, (life) => life.deadReads) > 0)
  },
)

t.test('a store bears one read a machine and interval', { skip: one !== undefined }, async (t) => {
  const machines = isLong ? 10_000 : 300
  const quiet = { faultsInARow: 0, hasFaults: false, mayRestore: false }
  const { storeReads, peakReadsPerSecond, worstStalenessMs, rotations } = live({
    ...{ ...COMMON, ...quiet, seed: 1, hours: 4, rotators: 5, readers: machines - 5 },
  })
  const perSecond = storeReads / (4 * 3600)
  t.comment(
    `${machines} machines: ${perSecond} reads a second, at most ${peakReadsPerSecond}; last after ${worstStalenessMs} ms`,
  )
  t.equal(rotations, 1)
  t.ok(Math.abs(perSecond / (machines / 60) - 1) < 0.05)
  t.ok(worstStalenessMs < stalenessMs({ everyMs: 60_000 }))
})

function summary(lives: readonly Outcome[]): string {
  const { length } = lives
  const names = ['rotations', 'mints', 'faults', 'lost', 'reads', 'deadReads'] as const
  const figures = names.map((name) => `${name} ${sum(lives, (life) => life[name])}`)
  return `${length} lives: ${figures.join(', ')}`
}
