/** Every change of profiles and keys, killed or failing between any two of its steps: whole or not at all, and seen once. */
import { readFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { type Simulator, startCloudSimulator } from '../../sim/simulator.js'
import { BrokerError } from '../../src/base/errors.js'
import { Secret } from '../../src/std/secret.js'
import { makeRoot, openBroker, type TestBroker } from '../fixtures/broker.js'

t.setTimeout(300_000)

interface Stage {
  readonly sim: Simulator
  readonly broker: TestBroker
}

interface Act {
  /** Returns texts of keys that must not be lost, whatever happens. */
  prepare(stage: Stage): Promise<readonly string[]>
  /** Prepared before the steps are counted. */
  start(stage: Stage): Promise<() => Promise<unknown>>
  /** Whose answers are watched. */
  readonly watched: readonly string[]
}

const OWN = 'http://127.0.0.1:4200/api'

const logIn = async ({ sim, broker }: Stage, workspace = 0) => {
  const key = sim.issueKey()
  const { workspaces } = await broker.delivery(key)
  await broker.logins.keep(await broker.delivery(key, { workspace: workspaces[workspace] ?? fail() }))
}

const plainKey = async ({ sim, broker }: Stage): Promise<readonly string[]> => {
  const plain = sim.issueKey({ name: 'plain' })
  const file = await broker.file()
  const before =
    file === '' ? `[profiles.cloud]\nPREFECT_API_URL = "${sim.workspaceUrl('prefect/terry')}"\n` : file
  await broker.write(before.replace(/(\[profiles\.cloud\]\n)/, `$1PREFECT_API_KEY = "${plain}"\n`))
  return [plain]
}

const login = async ({ sim, broker }: Stage) => {
  const key = sim.issueKey()
  const { workspaces } = await broker.delivery(key)
  const delivery = await broker.delivery(key, { workspace: workspaces[1] ?? fail() })
  return () => broker.logins.keep(delivery)
}

const none = async () => []

const ACTS: Readonly<Record<string, Act>> = {
  'a first login': { prepare: none, start: login, watched: ['cloud'] },
  'a login to another workspace': {
    prepare: (stage) => logIn(stage).then(none),
    start: login,
    watched: ['cloud'],
  },
  'a login over a key of the file': { prepare: plainKey, start: login, watched: ['cloud'] },
  'a login with the key of the file': {
    prepare: plainKey,
    start: async ({ broker }) => {
      const delivery = await broker.delivery(broker.served() ?? fail())
      return () => broker.logins.keep(delivery)
    },
    watched: ['cloud'],
  },
  'an adoption': {
    prepare: plainKey,
    start:
      async ({ broker }) =>
      () =>
        broker.profiles.adopt('cloud'),
    watched: ['cloud'],
  },
  'an adoption over a key of ours': {
    prepare: async (stage) => {
      await logIn(stage)
      return plainKey(stage)
    },
    start:
      async ({ broker }) =>
      () =>
        broker.profiles.adopt('cloud'),
    watched: ['cloud'],
  },
  'a log-out': {
    prepare: (stage) => logIn(stage).then(none),
    start:
      async ({ broker }) =>
      () =>
        broker.profiles.logout('cloud', { revoke: false }),
    watched: ['cloud'],
  },
  'a log-out with a key in the file': {
    prepare: async (stage) => {
      await logIn(stage)
      await plainKey(stage)
      return []
    },
    start:
      async ({ broker }) =>
      () =>
        broker.profiles.logout('cloud', { revoke: false }),
    watched: ['cloud'],
  },
  'a log-out that revokes': {
    prepare: async (stage) => {
      await logIn(stage)
      await stage.broker.rotator.rotate('cloud')
      await stage.broker.credentials.settle()
      return []
    },
    start:
      async ({ broker }) =>
      () =>
        broker.profiles.logout('cloud', { revoke: true }),
    watched: ['cloud'],
  },
  'a rename': {
    prepare: (stage) => logIn(stage).then(none),
    start:
      async ({ broker }) =>
      () =>
        broker.profiles.rename('cloud', 'work'),
    watched: ['cloud', 'work'],
  },
  'another workspace': {
    prepare: (stage) => logIn(stage).then(none),
    start:
      async ({ broker }) =>
      () =>
        broker.workspaces.choose('cloud', 'prefect/other'),
    watched: ['cloud'],
  },
  'a new profile': {
    prepare: async ({ broker }) => {
      await broker.write(`[profiles.local]\nPREFECT_API_URL = "${OWN}"\n`)
      return []
    },
    start:
      async ({ broker }) =>
      () =>
        broker.profiles.create({ name: 'own', apiUrl: OWN, authString: new Secret('admin:pass') }),
    watched: ['own'],
  },
  'another URL and auth string': {
    prepare: async ({ broker }) => {
      await broker.profiles.create({ name: 'own', apiUrl: OWN, authString: new Secret('admin:pass') })
      return []
    },
    start:
      async ({ broker }) =>
      () =>
        broker.profiles.change('own', { apiUrl: `${OWN}/x`, authString: new Secret('other:pass') }),
    watched: ['own'],
  },
  'an auth string for the one in the file': {
    prepare: async ({ broker }) => {
      await broker.write(`[profiles.own]\nPREFECT_API_URL = "${OWN}"\nPREFECT_API_AUTH_STRING = "in:file"\n`)
      return []
    },
    start:
      async ({ broker }) =>
      () =>
        broker.profiles.change('own', { apiUrl: `${OWN}/x`, authString: new Secret('in:vault') }),
    watched: ['own'],
  },
  'a deletion': {
    prepare: async (stage) => {
      await logIn(stage)
      await stage.broker.profiles.use('local')
      return []
    },
    start:
      async ({ broker }) =>
      () =>
        broker.profiles.delete('cloud'),
    watched: ['cloud'],
  },
}

function fail(): never {
  throw new Error('the stage lacks something')
}

/** What a caller sees of these profiles. */
function look(broker: TestBroker, profiles: readonly string[]): string {
  const answers = profiles.map((name) => {
    try {
      const { apiKey, authString, apiUrl, owner } = broker.credentials.serve(name)
      return [name, apiKey?.reveal(), authString?.reveal(), apiUrl, owner?.handle]
    } catch (error) {
      return [name, error instanceof BrokerError ? error.code : fail()]
    }
  })
  return JSON.stringify(answers)
}

interface Life {
  readonly total: number
  readonly steps: readonly string[]
  readonly died: string | undefined
  readonly isTold: boolean
  readonly before: string
  readonly seen: ReadonlySet<string>
  readonly after: string
  readonly entries: readonly string[]
  readonly lost: readonly string[]
  readonly alive: number
  readonly file: { readonly before: string; readonly after: string }
}

/** `strike`: the process is killed at this step, or the step fails. */
async function live(t: Test, act: Act, step: number, how: 'killed' | 'failing'): Promise<Life> {
  const sim = await startCloudSimulator({ accounts: [{ handle: 'prefect', workspaces: ['terry', 'other'] }] })
  const root = await makeRoot(t)
  const broker = await openBroker({ root, sim })
  await broker.recover()
  const stage = { sim, broker }
  const precious = await act.prepare(stage)
  const work = await act.start(stage)
  await broker.credentials.settle()
  const before = look(broker, act.watched)
  const fileBefore = await broker.file()
  const seen = new Set<string>()
  const settlings: Promise<void>[] = []
  const { saboteur } = broker
  const steps = saboteur.steps.length
  // A settling is due at any moment: what it would show counts as seen.
  saboteur.onStep(() => {
    seen.add(look(broker, act.watched))
    settlings.push(
      broker.credentials.settle().then(
        () => void seen.add(look(broker, act.watched)),
        () => undefined,
      ),
    )
  })
  if (how === 'killed') saboteur.arm(step)
  else saboteur.failOnce(step)
  const isTold = await work().then(
    () => true,
    () => false,
  )
  await Promise.all(settlings)
  saboteur.onStep(() => undefined)
  const total = saboteur.steps.length - steps
  if (!saboteur.isDead) {
    await broker.credentials.settle()
    seen.add(look(broker, act.watched))
  }
  const died = saboteur.steps[steps + step - 1]
  await broker.close()
  const again = await openBroker({ root, sim })
  await again.resume()
  seen.add(look(again, act.watched))
  await again.recover()
  await again.credentials.settle()
  const after = look(again, act.watched)
  const file = await readFile(again.profilesFile, 'utf8').catch(() => '')
  const held = Object.keys(again.ledger.read().keys).map((item) => again.keeper.keyOf(item)?.reveal())
  const result = {
    steps: saboteur.steps.slice(steps),
    ...{ total, died, isTold, before, seen, after },
    entries: Object.values(again.journal.read().entries).map(({ kind }) => kind),
    lost: precious.filter((key) => !file.includes(key) && !held.includes(key)),
    alive: sim.keys.all().filter(({ name, deletedAt }) => name.startsWith('prefect-auth ') && !deletedAt)
      .length,
    file: { before: fileBefore, after: file },
  }
  await again.close()
  await sim.close()
  return result
}

for (const [name, act] of Object.entries(ACTS)) {
  t.test(`${name} is whole or was never there, killed or failing at any step`, async (t) => {
    const whole = await live(t, act, Number.POSITIVE_INFINITY, 'killed')
    t.equal(whole.isTold, true, 'it works')
    const done = normal(whole.after)
    t.not(done, normal(whole.before))
    t.strictSame(whole.entries, [])
    t.ok(whole.seen.size <= 2, `others see one change: ${[...whole.seen].join(' | ')}`)
    for (const how of ['killed', 'failing'] as const) {
      for (let step = 1; step <= whole.total; step += 1) {
        // What Prefect answers is not a step of ours: see the tests of each act.
        if (how === 'failing' && whole.steps[step - 1]?.includes('cloud.')) continue
        const life = await live(t, act, step, how)
        const at = `${how} at step ${step}: ${life.died}`
        const whatHolds = [normal(life.before), done]
        t.ok(whatHolds.includes(normal(life.after)), `${at}: whole or never there: ${life.after}`)
        for (const seen of life.seen) t.ok(whatHolds.includes(normal(seen)), `${at}: a whole state: ${seen}`)
        if (life.isTold) t.equal(normal(life.after), done, `${at}: what was reported as done is done`)
        else if (how === 'failing') {
          t.equal(normal(life.after), normal(life.before), `${at}: what was reported as failed is undone`)
        }
        t.strictSame(life.entries, [], `${at}: the journal is settled`)
        t.strictSame(life.lost, [], `${at}: no key is lost`)
        if (normal(life.after) === done) t.equal(life.alive, whole.alive, `${at}: at Prefect, too`)
      }
    }
  })
}

/** Keys and ports differ from life to life: by order of appearance they do not. */
function normal(seen: string): string {
  return seen.replaceAll(/127\.0\.0\.1:\d+/g, 'HOST').replaceAll(/pnu_\w+/g, 'KEY')
}
