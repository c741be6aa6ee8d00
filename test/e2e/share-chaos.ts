/**
 * A fleet of real daemons while they are killed and stopped in the middle of its rotations: thirteen on a real OpenBao, and a few
 * on a real etcd. Waits more than it works. PAB_LONG=1 runs for more than twenty minutes instead of one and a half.
 */
import t, { type Test } from 'tap'
import { leastLifeMs, leastOverlapMs } from '../../src/share/pace.js'
import { openBaoFleet } from '../share/fixtures/bao-fleet.js'
import { type Chaos, type Figures, runChaos } from '../share/fixtures/chaos.js'
import { startEtcd } from '../share/fixtures/etcd.js'
import { openEtcdFleet } from '../share/fixtures/etcd-fleet.js'
import { startOpenBao } from '../share/fixtures/open-bao.js'
import { type RealFleet, startRealFleet } from '../share/fixtures/real-fleet.js'

const isLong = process.env.PAB_LONG === '1'
const long = { skip: isLong ? false : 'PAB_LONG=1' }
const SECOND = 1000
const EVERY = { everyMs: 10 * SECOND }
const overlapMs = leastOverlapMs(EVERY)
const PACE = { ...EVERY, overlapMs, lifeMs: leastLifeMs({ overlapMs }) }
/** The longest call is 30 s to the machines, and a second and a half to the one that they all run on. */
const SPEED = 20

t.setTimeout(isLong ? 3_600_000 : 600_000)

/** Nothing is minted but for a rotation, or because an accident made it necessary. */
async function run(t: Test, fleet: RealFleet, chaos: Chaos): Promise<Figures> {
  const figures = await runChaos(fleet, chaos)
  const { wrongs, story, ...counts } = figures
  t.comment(
    Object.entries(counts)
      .map(([name, value]) => `${name} ${value}`)
      .join(', '),
  )
  if (wrongs.length > 0) t.comment([...story, ...wrongs].join('\n'))
  const { mints, rotations, kills, stops, lostAnswers, slowMints, outages, stalls } = figures
  t.ok(rotations > 0, `${rotations} rotations`)
  const accidents = kills + stops + lostAnswers + slowMints + outages + stalls
  t.ok(mints <= rotations + accidents, `${mints} mints`)
  return figures
}

async function runWithoutDeadReads(t: Test, fleet: RealFleet, chaos: Chaos): Promise<Figures> {
  const figures = await run(t, fleet, chaos)
  t.ok(figures.reads > 0, `${figures.reads} reads`)
  t.equal(figures.deadReads, 0)
  t.strictSame(figures.wrongs, [])
  return figures
}

t.test('a fleet on OpenBao', async (t) => {
  const bao = await startOpenBao(t)
  if (bao === undefined) return
  const store = await openBaoFleet(bao)
  const fleet = await startRealFleet(t, { store, speed: SPEED, rotators: 5, readers: 8, pace: PACE })
  const onePrevious = (t: Test) => {
    fleet.sim.keepOnePrevious(true)
    t.teardown(() => fleet.sim.keepOnePrevious(false))
  }

  await t.test('no job reads a dead key, whatever is killed or stopped', async (t) => {
    const forMs = (isLong ? 600 : 35) * SECOND
    await runWithoutDeadReads(t, fleet, { forMs, accidents: 'any', isWanted: true })
  })

  await t.test('nobody wants it: a key is rotated because it is due', long, async (t) => {
    await runWithoutDeadReads(t, fleet, { forMs: 360 * SECOND, accidents: 'any', isWanted: false })
  })

  await t.test('the same if Prefect keeps only one previous key, and no answer is lost', async (t) => {
    onePrevious(t)
    const forMs = (isLong ? 180 : 12) * SECOND
    await runWithoutDeadReads(t, fleet, { forMs, accidents: 'harmless', isWanted: true })
  })

  await t.test('a lost answer then ends the key that is in use, and the fleet recovers', long, async (t) => {
    onePrevious(t)
    await run(t, fleet, { forMs: 120 * SECOND, accidents: 'any', isWanted: true })
  })

  await t.test(
    'one lost answer costs no reads, and if a fortieth of the overlap is granted it does',
    async (t) => {
      await runWithoutDeadReads(t, fleet, { accidents: 'lost', isWanted: true })
      fleet.sim.grantOverlap(1 / 40)
      t.teardown(() => fleet.sim.grantOverlap(1))
      const { deadReads } = await run(t, fleet, { accidents: 'lost', isWanted: true })
      t.ok(deadReads > 0, `${deadReads}`)
    },
  )
})

t.test('a fleet on etcd', async (t) => {
  const etcd = await startEtcd(t)
  if (etcd === undefined) return
  const store = openEtcdFleet(etcd)
  const fleet = await startRealFleet(t, { store, speed: SPEED, rotators: 3, readers: 2, pace: PACE })
  const forMs = (isLong ? 180 : 15) * SECOND
  await runWithoutDeadReads(t, fleet, { forMs, accidents: 'any', isWanted: true })
})
