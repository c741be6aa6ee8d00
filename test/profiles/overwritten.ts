import { execFileSync, spawn } from 'node:child_process'
import {
  closeSync,
  ftruncateSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { isBrokerError } from '../../src/base/errors.js'
import { openProfileStore } from '../../src/profiles/open-profiles.js'
import type { Overwritten, ProfileEdit } from '../../src/profiles/profile.js'
import { tableDigest } from '../../src/profiles/reading.js'
import { type Clock, systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { sha256Hex } from '../../src/std/secret.js'
import { createManualClock } from '../fixtures/manual-clock.js'

t.setTimeout(0)

const BASE = 'active = "one"\n\n[profiles.one]\n'
/** Of each way to write; PAB_HAMMER=5000 for a long run. */
const ROUNDS = Number(process.env.PAB_HAMMER ?? 60)

const setUrl = (port: number): ProfileEdit => ({
  kind: 'set',
  name: 'one',
  settings: { PREFECT_API_URL: `http://127.0.0.1:${port}/api` },
})

async function hold(t: Test, text: string, clock: Clock = systemClock()) {
  const directory = t.testdir({ home: { 'profiles.toml': text }, state: {} })
  const path = join(directory, 'home', 'profiles.toml')
  const keepIn = join(directory, 'state')
  const found: Overwritten[] = []
  const open = async () => {
    const store = await openProfileStore({ path, keepIn, clock, log: silentLog(), watch: false })
    store.onOverwritten((one) => found.push(one))
    t.teardown(() => store.close())
    return store
  }
  const kept = () => readdirSync(keepIn).map((name) => readFileSync(join(keepIn, name), 'utf8'))
  return { path, keepIn, found, open, kept, home: join(directory, 'home') }
}

/** How many of the other program's keys are nowhere any more. */
async function hammer(t: Test, how: 'in-place' | 'rename'): Promise<{ lost: number; overwritten: number }> {
  const { path, found, open, kept } = await hold(t, BASE)
  const store = await open()
  const script = new URL('fixtures/other-writer.mjs', import.meta.url).pathname
  const writer = spawn(process.execPath, [script, path, how], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => writer.kill())
  const lines = createInterface({ input: writer.stdout })[Symbol.asyncIterator]()
  let lost = 0
  for (let round = 0; round < ROUNDS; round += 1) {
    writeFileSync(path, BASE)
    writer.stdin.write(`${round} ${Math.floor(Math.random() * 3000)}\n`)
    const editing = store.edit([setUrl(4200 + (round % 1000))]).catch((error: unknown) => {
      if (!isBrokerError(error, 'profiles_file_changed', 'profiles_file_invalid')) throw error
    })
    await Promise.all([editing, lines.next()])
    const everywhere = [readFileSync(path, 'utf8'), ...kept()].join()
    if (!everywhere.includes(`pnu_writer${round}"`)) lost += 1
  }
  return { lost, overwritten: found.length }
}

t.test('loses nothing that another program writes in place at the same moment', async (t) => {
  const { lost, overwritten } = await hammer(t, 'in-place')
  t.comment(`${ROUNDS} rounds: ${overwritten} texts overwritten, all of them merged or kept`)
  t.equal(lost, 0)
})

t.test('loses next to nothing of what another program renames to the file at the same moment', async (t) => {
  const { lost, overwritten } = await hammer(t, 'rename')
  t.comment(`${ROUNDS} rounds: ${lost} lost between two system calls, ${overwritten} overwritten`)
  t.ok(lost <= ROUNDS / 10, `${lost} of ${ROUNDS}`)
})

t.test('merges what a program writes that had opened the file before', async (t) => {
  const clock = createManualClock()
  const { path, found, open, kept } = await hold(t, BASE, clock)
  const store = await open()
  const other = openSync(path, 'r+')
  await store.edit([setUrl(4200)])
  writeSync(other, `${BASE}\n[profiles.late]\nPREFECT_API_KEY = "pnu_late"\n`, 0)
  closeSync(other)
  const ended = store.close()
  while (found.length === 0) {
    clock.pass(20)
    await new Promise(setImmediate)
  }
  await ended
  t.match(readFileSync(path, 'utf8'), /pnu_late/)
  t.match(readFileSync(path, 'utf8'), /4200/)
  t.match(found, [{ isMerged: true }])
  t.equal(found[0]?.file?.profiles.get('late')?.apiKey?.reveal(), 'pnu_late')
  t.strictSame(kept(), [])
})

t.test('waits for a program that has truncated the replaced file and not written yet', async (t) => {
  const { path, found, open } = await hold(t, BASE)
  const store = await open()
  const other = openSync(path, 'r+')
  await store.edit([setUrl(4200)])
  ftruncateSync(other)
  const ended = store.close()
  await pause(100)
  writeSync(other, `${BASE}\n[profiles.late]\nPREFECT_API_KEY = "pnu_late"\n`, 0)
  closeSync(other)
  while (found.length === 0) await pause(20)
  await ended
  t.match(readFileSync(path, 'utf8'), /pnu_late/)
  t.match(found, [{ isMerged: true }])
})

t.test(
  'keeps aside what is no TOML, and what cannot be merged because the file has changed again',
  async (t) => {
    for (const [text, between] of [
      ['PREFECT_API_KEY = "pnu_late', undefined],
      [`${BASE}\n[profiles.late]\nPREFECT_API_KEY = "pnu_late"\n`, `${BASE}# by a third one\n`],
    ] as const) {
      const { path, found, open, kept } = await hold(t, BASE)
      const store = await open()
      const other = openSync(path, 'r+')
      await store.edit([setUrl(4200)])
      ftruncateSync(other)
      writeSync(other, text, 0)
      closeSync(other)
      if (between !== undefined) writeFileSync(path, between)
      const ended = store.close()
      while (found.length === 0) await pause(20)
      await ended
      t.strictSame(kept(), [text])
      t.match(found, [{ isMerged: false, keptAt: /profiles\.toml\.overwritten-/ }])
      if (between !== undefined) t.equal(readFileSync(path, 'utf8'), between)
    }
  },
)

t.test('a value that is not the expected one: nothing is written', async (t) => {
  const key = 'pnu_expected'
  const text = `${BASE}PREFECT_API_KEY = "${key}"\n`
  const { path, open } = await hold(t, text)
  const store = await open()
  const fingerprint = `sha256:${sha256Hex(key).slice(0, 12)}`
  const remove = { kind: 'set', name: 'one', settings: { PREFECT_API_KEY: undefined } } as const
  const other = `sha256:${'0'.repeat(12)}`
  for (const expected of [
    { PREFECT_API_KEY: other },
    { PREFECT_API_KEY: null },
    { PREFECT_API_KEY: fingerprint, PREFECT_API_URL: other },
    { constructor: other },
  ]) {
    const failure = await store.edit([{ ...remove, expected }]).catch((error: unknown) => error)
    t.ok(isBrokerError(failure, 'profiles_file_changed'))
    if (isBrokerError(failure)) {
      t.match(failure.message, /expected (sha256|no value).*found (sha256|no value)/)
      t.notMatch(failure.message, key)
    }
  }
  t.equal(readFileSync(path, 'utf8'), text)
  await store.edit([{ ...remove, expected: { PREFECT_API_KEY: fingerprint, PREFECT_API_URL: null } }])
  t.equal(readFileSync(path, 'utf8'), BASE)
  // A profile that does not exist has no value.
  const create = {
    kind: 'set',
    name: 'new',
    settings: { PREFECT_API_URL: 'http://127.0.0.1:1/api' },
  } as const
  const wrong = store.edit([{ ...create, expected: { PREFECT_API_URL: other } }])
  await t.rejects(wrong, { code: 'profiles_file_changed' })
  await store.edit([{ ...create, expected: { PREFECT_API_URL: null } }])
  t.match(readFileSync(path, 'utf8'), /profiles\.new/)
})

t.test('sweeps what a killed edit left: its own files go, another program’s text is kept', async (t) => {
  const { path, home, found, open, kept } = await hold(t, BASE)
  const theirs = `${BASE}\n[profiles.x]\nPREFECT_API_KEY = "pnu_theirs"\n`
  writeFileSync(join(home, 'profiles.toml.0123456789ab.tmp'), 'PREFECT_API_KEY = "pnu_ours"')
  writeFileSync(join(home, `profiles.toml.0123456789ab-${sha256Hex(BASE).slice(0, 16)}.old`), BASE)
  writeFileSync(join(home, `profiles.toml.ba9876543210-${sha256Hex(BASE).slice(0, 16)}.old`), theirs)
  for (const name of ['profiles.toml.bak', 'other.toml.0123456789ab.tmp', 'profiles.toml.tmp']) {
    writeFileSync(join(home, name), 'of the user')
  }
  await open()
  t.strictSame(readdirSync(home).sort(), [
    'other.toml.0123456789ab.tmp',
    'profiles.toml',
    'profiles.toml.bak',
    'profiles.toml.tmp',
  ])
  t.strictSame(kept(), [theirs])
  t.match(found, [{ isMerged: false }])
  t.equal(readFileSync(path, 'utf8'), BASE)
})

t.test('a pipe with the name of a leftover does not hold up the start', async (t) => {
  const { path, home, open } = await hold(t, BASE)
  execFileSync('mkfifo', [join(home, `profiles.toml.ba9876543210-${sha256Hex(BASE).slice(0, 16)}.old`)])
  await open()
  t.equal(readFileSync(path, 'utf8'), BASE)
})

t.test('never replaces a file that appears while the first one is created', async (t) => {
  const { path, open } = await hold(t, BASE)
  const store = await open()
  renameSync(path, `${path}.away`)
  await store.refresh({ force: true })
  const editing = store.edit([{ kind: 'create', name: 'two', settings: {} }])
  linkSync(`${path}.away`, path)
  await editing.catch((error: unknown) => t.ok(isBrokerError(error, 'profiles_file_changed')))
  t.match(readFileSync(path, 'utf8'), /profiles\.one/)
})

t.test('the digest of a table changes with every setting, and with nothing else', async (t) => {
  const table = '[profiles.one]\nPREFECT_API_URL = "http://127.0.0.1:1/api"\nPREFECT_API_KEY = "pnu_a"\n'
  const { path, open } = await hold(t, table)
  const store = await open()
  const digest = async (text: string) => {
    writeFileSync(path, text)
    return tableDigest(await store.refresh({ force: true }), 'one')
  }
  const first = await digest(table)
  t.match(first, /^[0-9a-f]{64}$/)
  for (const same of [
    `# a comment\nactive = "two"\n\n${table}\n[profiles.two]\nPREFECT_API_KEY = "pnu_b"\n`,
    '[profiles.one]\nPREFECT_API_KEY = "pnu_a"\nPREFECT_API_URL = "http://127.0.0.1:1/api"\n',
  ]) {
    t.equal(await digest(same), first)
  }
  const others = [
    table.replace('pnu_a', 'pnu_b'),
    table.replace('127.0.0.1:1', '127.0.0.1:2'),
    `${table}PREFECT_API_AUTH_STRING = "a:b"\n`,
    `${table}PREFECT_LOGGING_LEVEL = "DEBUG"\n`,
    table.replace('PREFECT_API_KEY = "pnu_a"\n', ''),
    table.replace('"pnu_a"', '"pnu_a b"'),
  ]
  const digests = new Set<string | undefined>([first])
  for (const other of others) digests.add(await digest(other))
  t.equal(digests.size, others.length + 1)
  t.equal(await digest('[profiles.two]\n'), undefined)
})
