import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { isBrokerError } from '../../src/base/errors.js'
import { openProfileStore } from '../../src/profiles/open-profiles.js'
import type { ProfileEdit, ProfileReading, ProfileStore } from '../../src/profiles/profile.js'
import { replaceProfilesFile } from '../../src/profiles/replace.js'
import { type Clock, systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { createManualClock } from '../fixtures/manual-clock.js'

const KEY = 'pnu_secret0123456789'
const ONE = `active = "one"\n\n[profiles.one]\nPREFECT_API_KEY = "${KEY}"\n`
const TWO = 'active = "two"\n\n[profiles.two]\n'
const setUrl: ProfileEdit = {
  kind: 'set',
  name: 'one',
  settings: { PREFECT_API_URL: 'http://127.0.0.1:4200/api' },
}

interface Held {
  readonly store: ProfileStore
  readonly path: string
  readonly directory: string
  readonly changes: ProfileReading[]
}

async function hold(
  t: Test,
  text: string | undefined,
  { watch = true, clock = systemClock() }: { readonly watch?: boolean; readonly clock?: Clock } = {},
): Promise<Held> {
  const directory = t.testdir(text === undefined ? {} : { 'profiles.toml': text })
  const path = join(directory, 'profiles.toml')
  if (text !== undefined) chmodSync(path, 0o600)
  const store = await openProfileStore({ path, clock, log: silentLog(), watch })
  t.teardown(() => store.close())
  // Nothing of the store keeps a process alive before it watches.
  const alive = setInterval(() => undefined, 60_000)
  t.teardown(() => clearInterval(alive))
  const changes: ProfileReading[] = []
  store.onChange((reading) => changes.push(reading))
  return { store, path, directory, changes }
}

async function until(t: Test, name: string, condition: () => boolean): Promise<void> {
  while (!condition()) await pause(20)
  t.pass(name)
}

async function codeOf(work: Promise<unknown>): Promise<string | undefined> {
  try {
    await work
    return undefined
  } catch (error) {
    if (!isBrokerError(error)) throw error
    if (`${error.message} ${error.hint}`.includes(KEY)) throw new Error('the error tells the key')
    return error.code
  }
}

t.test('has a reading once the store is open', async (t) => {
  const { store, path } = await hold(t, ONE)
  const { state, file, problem, warnings } = store.reading()
  t.strictSame(
    { state, problem, warnings, path: store.reading().path },
    { state: 'good', problem: undefined, warnings: undefined, path },
  )
  t.equal(file.active, 'one')
  t.equal(file.profiles.get('one')?.apiKey?.reveal(), KEY)
})

t.test('reads no file as no profiles, without a problem', async (t) => {
  const { store } = await hold(t, undefined)
  t.match(store.reading(), { state: 'missing', problem: undefined })
  t.equal(store.reading().file.profiles.size, 0)
})

t.test('notices a change without being asked', async (t) => {
  const { store, path, changes } = await hold(t, ONE)
  writeFileSync(path, TWO)
  await until(t, 'the new content', () => store.reading().file.active === 'two')
  t.equal(changes.length, 1, 'told once')
})

const bad: { name: string; spoil(path: string): void; state: ProfileReading['state']; problem: RegExp }[] = [
  { name: 'empty', spoil: (path) => writeFileSync(path, ''), state: 'empty', problem: /is empty/ },
  { name: 'blank', spoil: (path) => writeFileSync(path, ' \n\n'), state: 'empty', problem: /is empty/ },
  {
    name: 'half written',
    spoil: (path) => writeFileSync(path, ONE.slice(0, -5)),
    state: 'invalid',
    problem: /is not valid TOML at line 4/,
  },
  {
    name: 'not TOML',
    spoil: (path) => writeFileSync(path, `${KEY}\n`),
    state: 'invalid',
    problem: /is not valid TOML at line 1/,
  },
  {
    name: 'not UTF-8',
    spoil: (path) => writeFileSync(path, Buffer.from([0x61, 0xff, 0xfe])),
    state: 'invalid',
    problem: /is not UTF-8/,
  },
  {
    name: 'of a wrong shape',
    spoil: (path) => writeFileSync(path, 'profiles = 1\n'),
    state: 'invalid',
    problem: /'profiles' that is not a table/,
  },
  {
    name: 'huge',
    spoil: (path) => writeFileSync(path, '#'.repeat(2 ** 20 + 1)),
    state: 'invalid',
    problem: /larger than 1 MiB/,
  },
  {
    name: 'deep',
    spoil: (path) => writeFileSync(path, `a = ${'['.repeat(100_000)}`),
    state: 'invalid',
    problem: /is not valid TOML/,
  },
  { name: 'gone', spoil: (path) => unlinkSync(path), state: 'missing', problem: /is gone/ },
  {
    name: 'a directory',
    spoil(path) {
      unlinkSync(path)
      mkdirSync(path)
    },
    state: 'unreadable',
    problem: /is a directory, not a file/,
  },
  {
    name: 'a pipe that nobody writes to',
    spoil(path) {
      unlinkSync(path)
      execFileSync('mkfifo', [path])
    },
    state: 'unreadable',
    problem: /is a pipe, not a file/,
  },
]

for (const { name, spoil, state, problem } of bad) {
  t.test(`a file that becomes ${name} is reported, and the last good reading still counts`, async (t) => {
    const { store, path } = await hold(t, ONE)
    const good = store.reading()
    spoil(path)
    await until(t, `is reported as ${state}`, () => store.reading().state === state)
    t.equal(store.reading().file, good.file, 'the same profiles')
    t.equal(store.reading().readAt, good.readAt, 'of the same time')
    t.match(store.reading().problem, problem)
    t.notMatch(store.reading().problem, KEY, 'the problem tells nothing of the file')
    rmSync(path, { recursive: true, force: true })
    writeFileSync(path, TWO)
    await until(t, 'the next good file counts', () => store.reading().file.active === 'two')
    t.match(store.reading(), { state: 'good', problem: undefined })
  })
}

t.test('never reports a truncation that is over soon', async (t) => {
  const clock = createManualClock()
  const { store, path, changes } = await hold(t, ONE, { watch: false, clock })
  writeFileSync(path, '')
  clock.pass(1000)
  t.match(await store.refresh(), { state: 'good' })
  clock.pass(30)
  writeFileSync(path, TWO)
  clock.pass(400)
  t.equal((await store.refresh({ force: true })).file.active, 'two', 'the new content')
  t.strictSame(
    changes.map(({ state }) => state),
    ['good'],
  )
})

t.test('without a watch, looks again after a second, or at once when forced', async (t) => {
  const clock = createManualClock()
  const { store, path } = await hold(t, ONE, { watch: false, clock })
  writeFileSync(path, TWO)
  clock.pass(999)
  t.equal((await store.refresh()).file.active, 'one', 'the last look is young')
  t.equal((await store.refresh({ force: true })).file.active, 'two')
  writeFileSync(path, ONE)
  clock.pass(1000)
  t.equal((await store.refresh()).file.active, 'one', 'the last look is old')
})

t.test('warns while a file with a key is readable by others', async (t) => {
  const { store, path } = await hold(t, ONE)
  chmodSync(path, 0o644)
  await store.refresh({ force: true })
  t.strictSame(store.reading().warnings, [
    `${path} contains a key in plain text that other users can read (mode 644); run: chmod 600 ${path}`,
  ])
  chmodSync(path, 0o600)
  await store.refresh({ force: true })
  t.equal(store.reading().warnings, undefined)
})

t.test('edits in place: mode and comments stay, no other file remains', async (t) => {
  const { store, path, directory, changes } = await hold(t, `# mine\n${ONE}`)
  chmodSync(path, 0o640)
  const reading = await store.edit([setUrl])
  t.equal(reading.file.profiles.get('one')?.settings.PREFECT_API_URL, 'http://127.0.0.1:4200/api')
  t.equal(readFileSync(path, 'utf8'), `# mine\n${ONE}PREFECT_API_URL = "http://127.0.0.1:4200/api"\n`)
  t.equal(statSync(path).mode & 0o777, 0o640)
  t.strictSame(readdirSync(directory), ['profiles.toml'])
  t.ok(changes.length >= 1, 'listeners are told')
  const { mtimeNs } = statSync(path, { bigint: true })
  await store.edit([setUrl])
  t.equal(statSync(path, { bigint: true }).mtimeNs, mtimeNs, 'what changes nothing writes nothing')
})

t.test('creates the first file 0600 in a directory of 0700', async (t) => {
  const directory = join(t.testdir(), 'a', 'home')
  const path = join(directory, 'profiles.toml')
  const store = await openProfileStore({ path, clock: systemClock(), log: silentLog() })
  t.teardown(() => store.close())
  await store.edit([
    { kind: 'create', name: 'cloud', settings: {} },
    { kind: 'set_active', name: 'cloud' },
  ])
  t.equal(readFileSync(path, 'utf8'), 'active = "cloud"\n\n[profiles.cloud]\n')
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(statSync(directory).mode & 0o777, 0o700)
})

t.test('writes through a link', async (t) => {
  const directory = t.testdir({ dotfiles: { 'prefect.toml': ONE }, home: {} })
  const path = join(directory, 'home', 'profiles.toml')
  symlinkSync('../dotfiles/prefect.toml', path)
  const store = await openProfileStore({ path, clock: systemClock(), log: silentLog() })
  t.teardown(() => store.close())
  await store.edit([setUrl])
  t.ok(lstatSync(path).isSymbolicLink())
  t.match(readFileSync(join(directory, 'dotfiles', 'prefect.toml'), 'utf8'), /PREFECT_API_URL/)
  unlinkSync(join(directory, 'dotfiles', 'prefect.toml'))
  await store.edit([{ kind: 'create', name: 'x', settings: {} }])
  t.ok(lstatSync(path).isSymbolicLink(), 'also where the target was gone')
  t.equal(readFileSync(join(directory, 'dotfiles', 'prefect.toml'), 'utf8'), '[profiles.x]\n')
})

t.test('refuses to edit a bad file, and writes nothing', async (t) => {
  const { store, path } = await hold(t, ONE)
  for (const [text, code] of [
    ['active = "one\n', 'profiles_file_invalid'],
    ['', 'profiles_file_invalid'],
    ['#'.repeat(2 ** 20 + 1), 'profiles_file_invalid'],
  ] as const) {
    writeFileSync(path, text)
    t.equal(await codeOf(store.edit([setUrl])), code)
    t.equal(readFileSync(path, 'utf8'), text)
  }
  unlinkSync(path)
  mkdirSync(path)
  t.equal(await codeOf(store.edit([setUrl])), 'profiles_file_unreadable')
})

t.test('applies all edits or none', async (t) => {
  const { store, path } = await hold(t, ONE)
  t.equal(await codeOf(store.edit([setUrl, { kind: 'delete', name: 'nobody' }])), 'profile_not_found')
  t.equal(readFileSync(path, 'utf8'), ONE)
})

t.test('reports a path that cannot hold a file', async (t) => {
  const path = join(t.testdir({ home: 'a file, not a directory' }), 'home', 'profiles.toml')
  const store = await openProfileStore({ path, clock: systemClock(), log: silentLog(), watch: false })
  t.teardown(() => store.close())
  t.equal(await codeOf(store.edit([{ kind: 'create', name: 'x', settings: {} }])), 'disk_failed')
})

t.test('does not overwrite what another program has written', async (t) => {
  const path = join(t.testdir({ 'profiles.toml': ONE }), 'profiles.toml')
  const expected = { kind: 'text', text: TWO, mode: 0o600 } as const
  t.equal(await codeOf(replaceProfilesFile(path, 'ours', expected)), 'profiles_file_changed')
  t.equal(await codeOf(replaceProfilesFile(path, 'ours', { kind: 'missing' })), 'profiles_file_changed')
  t.equal(readFileSync(path, 'utf8'), ONE)
})

t.test('loses none of many concurrent edits', async (t) => {
  const { store, path } = await hold(t, ONE)
  const names = Array.from({ length: 20 }, (_, index) => `p${index}`)
  const edits = names.map((name) => store.edit([{ kind: 'create', name, settings: {} }]))
  await Promise.all(edits)
  for (const name of names) t.match(readFileSync(path, 'utf8'), `[profiles.${name}]\n`)
  t.equal(store.reading().file.profiles.size, 21)
})

t.test('goes on when a listener throws', async (t) => {
  const { store, path, changes } = await hold(t, ONE)
  const stop = store.onChange(() => {
    throw new Error('no')
  })
  store.onChange((reading) => changes.push(reading))
  writeFileSync(path, TWO)
  await store.refresh({ force: true })
  t.equal(changes.length, 2)
  stop()
})
