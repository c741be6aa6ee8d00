/**
 * Random lives of a machine: time, sleep, clocks that jump, faults of Prefect and of the vault, kills between any two steps,
 * readers all the while. PAB_LONG=1 runs thousands. A failure prints the seed; PAB_SEED runs it again.
 */
import { strict as assert } from 'node:assert'
import fc from 'fast-check'
import t from 'tap'
import {
  API_FAULTS,
  type ApiFault,
  createWorld,
  type Process,
  VAULT_FAULTS,
  type VaultFault,
  type World,
} from './fixtures/model-world.js'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

type Command =
  | { readonly kind: 'pass' | 'sleep' | 'jump'; readonly ms: number }
  | { readonly kind: 'set right' | 'restart' | 'renew' | 'recover' }
  | { readonly kind: 'kill'; readonly ahead: number }
  | { readonly kind: 'api'; readonly fault: ApiFault; readonly after: number }
  | { readonly kind: 'vault'; readonly fault: VaultFault }
  | { readonly kind: 'read'; readonly readers: number }

const span = (max: number) => fc.oneof(fc.integer({ min: 1, max: 2 * HOUR }), fc.integer({ min: 1, max }))

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: span(12 * DAY) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('sleep' as const), ms: span(25 * DAY) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('jump' as const),
      ms: fc.integer({ min: -400 * DAY, max: 400 * DAY }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constantFrom('set right', 'restart', 'renew', 'recover') }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('kill' as const), ahead: fc.integer({ min: 1, max: 40 }) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('api' as const),
      fault: fc.constantFrom(...API_FAULTS),
      after: fc.integer({ min: 0, max: 6 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('vault' as const), fault: fc.constantFrom(...VAULT_FAULTS) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('read' as const), readers: fc.integer({ min: 1, max: 4 }) }),
  },
)

interface Life {
  readonly world: World
  readonly random: () => number
  process: Process
  generation: number
  /** Ids of keys that a reader has got. */
  readonly given: Set<string>
  /** Calls that asked for a key when the renewal under way began. */
  askedBefore: number
  /** What was seen in the middle of something. */
  readonly wrongs: string[]
}

/** What must be true at every moment. */
function check(life: Life): void {
  const { world, process } = life
  const generation = world.ledger().profiles.cloud?.generation ?? 0
  assert.ok(
    generation >= life.generation,
    `the generation went back from ${life.generation} to ${generation}`,
  )
  life.generation = generation
  assert.ok(!JSON.stringify([world.journal(), world.ledger()]).includes('pnu_'), 'a secret in the state')
  for (const id of life.given) assert.ok(!world.deleted.has(id), 'a key that a reader holds was deleted')
  assert.deepEqual(life.wrongs, [])
  checkOrphans(world)
  if (!process.saboteur.isDead) checkServed(life)
}

/** A living key that we do not hold is always in the journal. */
function checkOrphans(world: World): void {
  const held = new Set(Object.values(world.ledger().keys).map(({ fingerprint }) => fingerprint))
  const named = Object.values(world.journal().entries).flatMap((entry) =>
    entry.kind === 'rotation' ? [entry.keyName] : [],
  )
  for (const key of world.keys.all()) {
    const isAlive = key.deletedAt === undefined && (key.expiresAt ?? 0) > world.now()
    if (!isAlive || key.name === 'browser' || held.has(key.fingerprint)) continue
    assert.ok(named.includes(key.name), `${key.name} lives, and nobody knows of it`)
  }
}

function checkServed({ world, process }: Life): void {
  const { outcome } = process.credentials.state('cloud')
  const current = world.ledger().profiles.cloud?.currentItem ?? ''
  const record = world.ledger().keys[current]
  const known = world.keys.all().find(({ fingerprint }) => fingerprint === record?.fingerprint)
  const isGood = known !== undefined && known.deletedAt === undefined && (known.expiresAt ?? 0) > world.now()
  if (outcome.kind === 'served') {
    const key = world.keys.find(outcome.served.apiKey?.reveal() ?? '')
    assert.ok(key, 'what is served was never a key')
    assert.equal(key.deletedAt, undefined, 'a deleted key is served')
    return
  }
  if (outcome.error.code === 'login_required') {
    assert.ok(!isGood || record?.rejectedAt !== undefined, 'a good key was dropped')
    assert.ok(!isGood, 'a good key was taken for a rejected one')
  }
}

async function startLife(keyListing: boolean, seed: number): Promise<Life> {
  const world = createWorld({ keyListing })
  const random = randomOf(seed)
  const process = await world.start(random)
  await process.logIn()
  const life: Life = { world, random, process, generation: 0, given: new Set(), askedBefore: 0, wrongs: [] }
  watch(life)
  await process.finish(process.renewer.tick())
  return life
}

/** One renewal asks for one key, and none is begun beside one that only waits to be verified. */
function watch(life: Life): void {
  const { world, process } = life
  life.askedBefore = world.mints.asked
  process.events.onEvent(({ type }) => {
    if (type !== 'renewal.started') return
    // Noted, not thrown: who emits an event does not expect to fail of it.
    if (world.mints.asked > life.askedBefore + 1) life.wrongs.push('one renewal asked for two keys')
    life.askedBefore = world.mints.asked
    const isWaiting = Object.values(world.journal().entries).some(
      (entry) => entry.kind === 'rotation' && entry.step === 'stored',
    )
    if (isWaiting) life.wrongs.push('a key was made beside one that only waits to be verified')
  })
}

/** Another process over what the last one left; it recovers as the daemon does at its start. */
async function restart(life: Life): Promise<void> {
  const { process, world } = life
  await process.finish(process.renewer.close())
  await process.credentials.close().catch(() => undefined)
  life.process = await world.start(life.random)
  watch(life)
  await life.process.credentials.settle()
  check(life)
  await life.process.finish(life.process.rotator.recover())
  await life.process.finish(life.process.renewer.tick())
  await life.process.credentials.settle()
}

async function read(life: Life): Promise<void> {
  const { process, world } = life
  try {
    await process.credentials.refresh()
    const served = await process.credentials.markHandedOut(process.credentials.serve('cloud'))
    const key = world.keys.find(served.apiKey?.reveal() ?? '')
    assert.ok(key, 'a reader got something that is no key')
    assert.equal(key.deletedAt, undefined, 'a reader got a deleted key')
    life.given.add(key.id)
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error
  }
}

async function obey(life: Life, command: Command): Promise<void> {
  const { world, process } = life
  const tick = () => process.finish(process.renewer.tick())
  switch (command.kind) {
    case 'pass':
      world.pass(command.ms)
      return tick()
    case 'sleep':
      world.sleep(command.ms)
      return tick()
    case 'jump':
      world.jump(command.ms)
      return tick()
    case 'set right':
      world.setRight()
      return tick()
    case 'restart':
      return restart(life)
    case 'renew':
      await process.finish(process.renewer.renew('cloud', { isForced: true })).catch(rethrowOurs)
      return
    case 'recover':
      return process.finish(process.rotator.recover())
    case 'kill':
      process.saboteur.arm(command.ahead)
      await process.finish(process.renewer.renew('cloud', { isForced: true })).catch(rethrowOurs)
      return
    case 'api':
      world.faults.api = command.fault
      world.faults.apiAfter = command.after
      return
    case 'vault':
      world.faults.vault = command.fault
      return
    case 'read': {
      const reads = Array.from({ length: command.readers }, () => read(life))
      await process.finish(Promise.all([...reads, process.renewer.tick().catch(rethrowOurs)]))
    }
  }
}

function rethrowOurs(error: unknown): void {
  if (error instanceof assert.AssertionError) throw error
}

/** Everything works again: what must be true some hours later. */
async function comeToRest(life: Life): Promise<void> {
  const { world } = life
  world.faults.api = 'none'
  world.faults.vault = 'none'
  world.setRight()
  await restart(life)
  const rest = async () => {
    // Longer than a twentieth of a key's life, before which no key is renewed again.
    for (let round = 0; round < 40; round += 1) {
      world.pass(HOUR)
      await life.process.finish(life.process.renewer.tick())
      await life.process.finish(life.process.rotator.recover())
      await life.process.credentials.settle()
      check(life)
    }
  }
  const isGood = () => {
    const { outcome } = life.process.credentials.state('cloud')
    const text = outcome.kind === 'served' ? outcome.served.apiKey?.reveal() : undefined
    return text !== undefined && world.keys.authenticate(text) !== undefined
  }
  const wasGood = isGood()
  await rest()
  if (wasGood) assert.ok(isGood(), 'a good key was lost although nothing went wrong')
  if (!isGood()) {
    await life.process.logIn()
    await rest()
  }
  assert.ok(isGood(), 'nothing good is served')
  const { currentItem = '' } = world.ledger().profiles.cloud ?? {}
  const record = world.ledger().keys[currentItem]
  assert.equal(record?.origin, 'minted', 'the key was never exchanged')
  assert.ok((record?.expiresAt ?? 0) - world.now() > 8 * DAY, 'the key is old and was not renewed')
  const steps = Object.values(world.journal().entries).map((one) =>
    one.kind === 'rotation' ? one.step : one.kind,
  )
  assert.ok(
    steps.every((step) => step === 'lost'),
    `left in the journal: ${steps.join()}`,
  )
}

/** mulberry32 */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

const isLong = process.env.PAB_LONG === '1'
const runs = isLong ? 5_000 : 400
const seed = Number(process.env.PAB_SEED ?? Date.now() % 1_000_000_000)

t.setTimeout(isLong ? 3_600_000 : 300_000)

t.test(`${runs} random lives, seed ${seed}`, { timeout: isLong ? 3_600_000 : 290_000 }, async (t) => {
  const seen = { renewals: 0, kills: 0, mints: 0, reads: 0 }
  await fc.assert(
    fc.asyncProperty(
      fc.array(command, { minLength: 5, maxLength: 40 }),
      fc.boolean(),
      fc.integer(),
      async (commands, keyListing, chance) => {
        const life = await startLife(keyListing, chance)
        check(life)
        for (const one of commands) {
          await obey(life, one)
          if (life.process.saboteur.isDead) {
            seen.kills += 1
            await restart(life)
          }
          await life.process.credentials.settle().catch(rethrowOurs)
          if (life.process.saboteur.isDead) await restart(life)
          check(life)
        }
        await comeToRest(life)
        seen.mints += life.world.mints.answered.length
        seen.reads += life.given.size
      },
    ),
    { numRuns: runs, seed, includeErrorInReport: true },
  )
  t.comment(`${seen.kills} kills, ${seen.mints} keys made, ${seen.reads} keys given to readers`)
  t.ok(seen.kills > runs / 10, 'there were kills')
  t.ok(seen.mints > runs, 'there were renewals')
})
