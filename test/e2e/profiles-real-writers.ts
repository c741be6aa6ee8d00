/** Real clients and our store on one `profiles.toml`: each reads what the other writes. */
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openProfileStore } from '../../src/profiles/open-profiles.js'
import type { ProfileStore, ResolvedProfile } from '../../src/profiles/profile.js'
import { resolveProfile } from '../../src/profiles/resolve.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { Secret } from '../../src/std/secret.js'
import { findPrefect, type PrefectClient, runPrefect } from '../fixtures/real-prefect.js'

const URL_1 = 'http://127.0.0.1:4200/api'
const URL_2 = 'http://127.0.0.1:4201/api'

/** Not in tap's directory: another run of tap empties it, and these tests take long. */
async function directory(t: Test): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'profiles-'))
  t.teardown(() => rm(made, { recursive: true, force: true }))
  return made
}

async function open(t: Test, home: string): Promise<ProfileStore> {
  const path = join(home, 'profiles.toml')
  const store = await openProfileStore({ path, clock: systemClock(), log: silentLog() })
  t.teardown(() => store.close())
  return store
}

function active(store: ProfileStore): ResolvedProfile {
  const { file } = store.reading()
  return resolveProfile({ file, defaults: { cloudApiUrl: 'https://api.prefect.cloud/api' } })
}

/** Waits until the store has it, without asking it to read the file: watching must be enough. */
async function follows(t: Test, name: string, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 60_000
  while (Date.now() < deadline && !condition()) await pause(20)
  t.ok(condition(), `seen: ${name}`)
}

interface Step {
  readonly args: readonly string[]
  isSeen(store: ProfileStore): boolean
}

const keyOf = (store: ProfileStore) => active(store).fileKey?.reveal()
const has = (store: ProfileStore, name: string) => store.reading().file.profiles.has(name)

/** From no directory to a login and a logout, as a person would do it. */
const steps: Step[] = [
  { args: ['profile', 'create', 'one'], isSeen: (store) => has(store, 'one') },
  { args: ['profile', 'use', 'one'], isSeen: (store) => active(store).name === 'one' },
  { args: ['config', 'set', `PREFECT_API_URL=${URL_1}`], isSeen: (store) => active(store).apiUrl === URL_1 },
  { args: ['config', 'set', 'PREFECT_API_KEY=pnu_first'], isSeen: (store) => keyOf(store) === 'pnu_first' },
  { args: ['config', 'set', 'PREFECT_API_KEY=pnu_second'], isSeen: (store) => keyOf(store) === 'pnu_second' },
  {
    args: ['profile', 'rename', 'one', 'two'],
    isSeen: (store) => active(store).name === 'two' && !has(store, 'one'),
  },
  {
    args: ['cloud', 'logout'],
    isSeen: (store) => keyOf(store) === undefined && active(store).apiUrl === undefined,
  },
  { args: ['profile', 'create', 'three'], isSeen: (store) => has(store, 'three') },
  { args: ['profile', 'delete', 'three'], isSeen: (store) => !has(store, 'three') },
]

async function followClient(t: Test, client: PrefectClient): Promise<void> {
  const home = join(await directory(t), '.prefect')
  const store = await open(t, home)
  // Not before the store is open: it starts without a directory. Prefect 2 makes none for its file.
  mkdirSync(home)
  const states = new Set<string>()
  store.onChange(({ state }) => states.add(state))
  for (const { args, isSeen } of steps) {
    // `profile use` complains about an unreachable server, but has written the file.
    const ran = await runPrefect(client, args, { home, stdin: 'y\n' })
    await follows(t, args.join(' '), () => isSeen(store))
    if (!isSeen(store)) t.comment(ran.output)
  }
  t.strictSame([...states], ['good'], 'no half-written state was reported')
  t.equal(statSync(join(home, 'profiles.toml')).mode & 0o777, 0o600)
}

async function readByClient(t: Test, client: PrefectClient): Promise<void> {
  const home = await directory(t)
  const path = join(home, 'profiles.toml')
  writeFileSync(path, `# kept\nactive = "old"\n\n[profiles.old] # kept too\nPREFECT_API_URL = '${URL_1}'\n`)
  const store = await open(t, home)
  await store.edit([
    { kind: 'create', name: 'a.b', settings: { PREFECT_API_URL: URL_2 } },
    { kind: 'set', name: 'a.b', settings: { PREFECT_API_KEY: new Secret('pnu_"quoted') } },
    { kind: 'rename', name: 'old', to: 'older' },
    { kind: 'set_active', name: 'a.b' },
  ])
  const viewed = await runPrefect(client, ['config', 'view', '--show-secrets', '--hide-sources'], { home })
  t.match(viewed.stdout, "PREFECT_PROFILE='a.b'")
  t.match(viewed.stdout, `PREFECT_API_URL='${URL_2}'`)
  t.match(viewed.stdout, `PREFECT_API_KEY='pnu_"quoted'`)
  const listed = await runPrefect(client, ['profile', 'ls'], { home })
  t.match(listed.stdout, /older/)
  t.match(readFileSync(path, 'utf8'), /^# kept\nactive = "a\.b"\n\n\[profiles\.older\] # kept too\n/)
}

async function writesTheSame(t: Test, client: PrefectClient): Promise<void> {
  const theirs = await directory(t)
  const ours = await directory(t)
  await runPrefect(client, ['profile', 'create', 'x'], { home: theirs })
  await runPrefect(client, ['profile', 'use', 'x'], { home: theirs })
  await runPrefect(client, ['config', 'set', `PREFECT_API_URL=${URL_1}`], { home: theirs })
  const store = await open(t, ours)
  await store.edit([
    { kind: 'create', name: 'x', settings: { PREFECT_API_URL: URL_1 } },
    { kind: 'set_active', name: 'x' },
  ])
  t.equal(
    readFileSync(join(ours, 'profiles.toml'), 'utf8'),
    readFileSync(join(theirs, 'profiles.toml'), 'utf8'),
  )
}

// Both clients at the same time; each of their commands takes one to three seconds on an idle core.
t.setTimeout(600_000)
t.jobs = 2
for (const which of ['2', '3'] as const) {
  t.test(`Prefect ${which} and we write the same file`, { buffered: true, timeout: 600_000 }, async (t) => {
    const client = findPrefect(which, t)
    if (client === undefined) return
    await t.test('what it writes is followed', { timeout: 880_000 }, (t) => followClient(t, client))
    await t.test('what we write is read by it', { timeout: 880_000 }, (t) => readByClient(t, client))
    if (which === '3')
      await t.test('a new file is byte for byte its own', { timeout: 880_000 }, (t) =>
        writesTheSame(t, client),
      )
  })
}
