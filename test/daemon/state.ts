/** The state files over versions, damage and failing disks: taken over, set aside, refused, or written later. */

import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { openState, type StateOptions } from '../../src/daemon/state.js'
import { profileRecord } from '../../src/keys/ledger.js'
import { silentLog } from '../../src/std/log.js'
import { createTokens } from '../../src/tokens/issue.js'
import { makeRoot, openBroker } from '../fixtures/broker.js'
import { createManualClock } from '../fixtures/manual-clock.js'

const V1 = new URL('fixtures/state-v1/', import.meta.url).pathname
const EXPECTED = JSON.parse(readFileSync(join(V1, 'expected.json'), 'utf8'))
/** When the first version wrote its fixture. */
const WRITTEN_AT = Date.parse(JSON.parse(readFileSync(join(V1, 'state/vault.json'), 'utf8')).chosen_at)

/** A copy of the first version's state. Git keeps no modes. */
function copyOfV1(root: string): string {
  cpSync(V1, root, { recursive: true })
  const stateDir = join(root, 'state')
  for (const entry of readdirSync(stateDir, { recursive: true, withFileTypes: true })) {
    chmodSync(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o700 : 0o600)
  }
  chmodSync(stateDir, 0o700)
  return stateDir
}

const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'))
const open = (stateDir: string, more: Partial<StateOptions> = {}) =>
  openState({ stateDir, clock: createManualClock(WRITTEN_AT), log: silentLog(), ...more })

/** A directory with a ledger of two profiles, written and closed. */
async function setStage(t: Test) {
  const stateDir = await makeRoot(t)
  const state = await open(stateDir)
  const key = (profile: string) => ({
    ...{
      item: `key-${profile}`,
      profile,
      cloudApiUrl: 'https://api.example/api',
      fingerprint: `sha256:${profile}`,
    },
    ...{ origin: 'minted' as const, issuedAt: 1, handedOut: false },
  })
  await state.ledger.update(() => ({
    profiles: {
      a: { currentItem: 'key-a', workspaces: [], generation: 3, digest: 'x' },
      b: { currentItem: 'key-b', workspaces: [], generation: 5, digest: 'y' },
    },
    keys: { 'key-a': key('a'), 'key-b': key('b') },
  }))
  return { stateDir, state, path: join(stateDir, 'ledger.json') }
}

t.test('takes over the state of the first version in one change', async (t) => {
  const stateDir = copyOfV1(await makeRoot(t))
  const before = json(join(stateDir, 'ledger.json'))
  const { entries } = json(join(stateDir, 'journal.json'))
  const state = await open(stateDir)
  t.strictSame(state.notices, [])
  t.strictSame(state.journal.read().entries, entries, 'every kind of open change')
  const onDisk = json(join(stateDir, 'ledger.json'))
  t.match(onDisk, { format: 2, seq: 1, changes: entries })
  t.strictSame(Object.keys(onDisk.keys), Object.keys(before.keys), 'no record is lost')
  t.strictSame(json(join(stateDir, 'ledger.json.previous')), before, 'it was one write')
  t.equal(json(join(stateDir, 'tokens.json')).format, 2)
  t.equal(json(join(stateDir, 'vault.json')).version, 2, 'which the first version refuses')
  t.notOk(existsSync(join(stateDir, 'journal.json')))
  t.notOk(existsSync(join(stateDir, 'journal.json.previous')))
})

t.test('keeps every live token of the first version', async (t) => {
  const stateDir = copyOfV1(await makeRoot(t))
  const clock = createManualClock(WRITTEN_AT)
  const { tokens: document } = await open(stateDir)
  const tokens = createTokens({ document, clock, randomToken: () => '', newId: () => '' })
  t.match(tokens.recognise(EXPECTED.tokens.job), { isJob: true, profiles: ['cloud'] })
  t.match(tokens.recognise(EXPECTED.tokens.timed), { power: 'use' })
})

t.test('serves every key that the first version served', async (t) => {
  const root = await makeRoot(t)
  copyOfV1(root)
  const sim = await startCloudSimulator()
  const [apiUrl = ''] = /http:[^"]+\/api/.exec(readFileSync(join(root, 'profiles.toml'), 'utf8')) ?? []
  // Nobody listens there any more: what is served needs no network.
  const broker = await openBroker({ root, sim: { ...sim, apiUrl } })
  t.after(async () => {
    await broker.close()
    await sim.close()
  })
  await broker.credentials.settle()
  for (const [profile, served] of Object.entries(EXPECTED.served)) {
    t.equal(broker.served(profile), served, profile)
  }
})

t.test(
  'one key in several records: the live one knows all, the other cannot be deleted at Prefect',
  async (t) => {
    const stateDir = copyOfV1(await makeRoot(t))
    const before = json(join(stateDir, 'ledger.json'))
    const [old, live] = Object.values<{ item: string; profile: string }>(before.keys).filter(
      ({ profile }) => profile === 'twice',
    )
    Object.assign(old ?? {}, { cloudId: 'id-1', userId: 'user-1', handedOut: true, expiresAt: 99 })
    writeFileSync(join(stateDir, 'ledger.json'), JSON.stringify(before))
    const { keys } = (await open(stateDir)).ledger.read()
    t.match(keys[live?.item ?? ''], { cloudId: 'id-1', userId: 'user-1', expiresAt: 99, handedOut: true })
    t.notHas(keys[old?.item ?? ''], { cloudId: 'id-1' })
  },
)

t.test('killed after the takeover, with the old journal left: its changes do not come back', async (t) => {
  const stateDir = copyOfV1(await makeRoot(t))
  const journal = readFileSync(join(stateDir, 'journal.json'))
  const first = await open(stateDir)
  await first.journal.update(() => ({ entries: {} }))
  writeFileSync(join(stateDir, 'journal.json'), journal, { mode: 0o600 })
  const again = await open(stateDir)
  t.strictSame(again.journal.read().entries, {})
  t.notOk(existsSync(join(stateDir, 'journal.json')))
})

t.test('a takeover that cannot be written is taken over again, and loses nothing', async (t) => {
  const stateDir = copyOfV1(await makeRoot(t))
  const files = () =>
    readdirSync(stateDir)
      .filter((name) => name.endsWith('.json'))
      .map((name) => readFileSync(join(stateDir, name), 'utf8'))
  const before = files()
  const { entries } = json(join(stateDir, 'journal.json'))
  const full = await open(stateDir, { lock: notHeld('disk full') })
  t.strictSame(full.journal.read().entries, entries)
  t.match(full.trouble(), { code: 'disk_failed', message: /disk full/ })
  t.strictSame(
    files().filter((text) => !text.includes('"version"')),
    before.filter((text) => !text.includes('"version"')),
  )
  const again = await open(stateDir)
  t.strictSame(again.journal.read().entries, entries)
})

t.test(
  'a damaged journal of the first version: what edits files is not replayed from its older copy',
  async (t) => {
    const stateDir = copyOfV1(await makeRoot(t))
    cpSync(join(stateDir, 'journal.json'), join(stateDir, 'journal.json.previous'))
    writeFileSync(join(stateDir, 'journal.json'), '{')
    const state = await open(stateDir)
    const kinds = Object.values(state.journal.read().entries).map(({ kind }) => kind)
    t.strictSame([...new Set(kinds)].sort(), ['rotation', 'service_account'])
    t.match(state.notices.join('\n'), /journal\.json was corrupt.*\n.*login of 'begun' is not continued/s)
  },
)

t.test('refuses a newer format by name, and changes nothing', async (t) => {
  for (const name of ['ledger.json', 'tokens.json']) {
    const { stateDir, state } = await setStage(t)
    await state.tokens.update((list) => ({ ...list }))
    await state.close()
    const path = join(stateDir, name)
    writeFileSync(path, JSON.stringify({ ...json(path), format: 3 }))
    const before = readdirSync(stateDir).map((file) => [file, readFileSync(join(stateDir, file), 'utf8')])
    await t.rejects(open(stateDir), {
      code: 'state_newer',
      message: new RegExp(`${path}.*format 3`),
      hint: /install the newer/,
    })
    const after = readdirSync(stateDir).map((file) => [file, readFileSync(join(stateDir, file), 'utf8')])
    t.strictSame(after, before)
  }
})

const STRANGE: readonly (readonly [name: string, change: (ledger: ReturnType<typeof json>) => unknown])[] = [
  ['a key of an unknown origin', ({ keys }) => Object.assign(keys['key-b'], { origin: 'hardware' })],
  ['a key without a fingerprint', ({ keys }) => delete keys['key-b'].fingerprint],
  ['a key of a time that no calendar has', ({ keys }) => Object.assign(keys['key-b'], { issuedAt: 1e300 })],
  ['a key that is no object', ({ keys }) => Object.assign(keys, { 'key-b': 7 })],
  [
    'a profile with an unknown outcome',
    ({ profiles }) => Object.assign(profiles.b, { lastRenewal: { at: 1, outcome: 'x' } }),
  ],
  ['a profile without workspaces', ({ profiles }) => delete profiles.b.workspaces],
  [
    'a change of an unknown kind',
    (ledger) => Object.assign(ledger, { changes: { c: { kind: 'teleport', id: 'c' } } }),
  ],
]
for (const [name, change] of STRANGE) {
  t.test(`sets ${name} aside alone, keeps it word for word, and reports it`, async (t) => {
    const { stateDir, state, path } = await setStage(t)
    await state.close()
    const ledger = json(path)
    change(ledger)
    writeFileSync(path, JSON.stringify(ledger))
    const again = await open(stateDir)
    t.equal(again.notices.length, 1)
    t.match(again.notices[0], /does not understand (keys 'key-b'|profiles 'b'|changes 'c'); it is kept/)
    t.match(again.ledger.read().keys['key-a'], { profile: 'a' })
    t.ok((again.ledger.read().profiles.b?.generation ?? 0) >= 5, 'the generation does not go back')
    await again.ledger.update((current) => ({ ...current, doomed: ['one'] }))
    const { unknown } = json(path)
    t.strictSame(
      unknown,
      name.includes('key')
        ? { keys: { 'key-b': ledger.keys['key-b'] } }
        : name.includes('profile')
          ? { profiles: { b: ledger.profiles.b } }
          : { changes: ledger.changes },
    )
    const third = await open(stateDir)
    t.equal(third.notices.length, 1, 'it is still reported')
    t.strictSame(json(path).unknown, unknown, 'and kept')
  })
}

t.test('a record that was set aside comes back once it is understood', async (t) => {
  const { stateDir, state, path } = await setStage(t)
  await state.close()
  const { keys, ...rest } = json(path)
  const { 'key-b': b, ...others } = keys
  writeFileSync(path, JSON.stringify({ ...rest, keys: others, unknown: { keys: { 'key-b': b } } }))
  const again = await open(stateDir)
  t.match(again.ledger.read().keys['key-b'], { profile: 'b' })
  t.strictSame(again.notices, [])
})

t.test('fields that a later version added to a record survive', async (t) => {
  const { stateDir, state, path } = await setStage(t)
  await state.close()
  const ledger = json(path)
  Object.assign(ledger.keys['key-a'], { colour: 'blue' })
  writeFileSync(path, JSON.stringify(ledger))
  const again = await open(stateDir)
  await again.ledger.update((current) => ({ ...current, doomed: ['one'] }))
  t.equal(json(path).keys['key-a'].colour, 'blue')
})

t.test('one token that is not understood does not end the others', async (t) => {
  const stateDir = copyOfV1(await makeRoot(t))
  const list = json(join(stateDir, 'tokens.json'))
  Object.assign(list.tokens[1], { power: 'everything' })
  writeFileSync(join(stateDir, 'tokens.json'), JSON.stringify(list))
  const { tokens, notices } = await open(stateDir)
  t.equal(tokens.read().tokens.length, 1)
  t.match(notices[0], `does not understand tokens '${list.tokens[1].id}'`)
  t.strictSame(json(join(stateDir, 'tokens.json')).unknown, { tokens: [list.tokens[1]] })
})

t.test('one port of a login that is not understood does not end the others', async (t) => {
  const { stateDir, state } = await setStage(t)
  const port = { port: 4000, profile: 'a', cloudApiUrl: 'x', uiOrigin: 'y', until: 9 }
  await state.loginPorts.update(() => ({ ports: [port] }))
  await state.close()
  const path = join(stateDir, 'login-ports.json')
  const odd = { ...port, port: 70_000 }
  writeFileSync(path, JSON.stringify({ ...json(path), ports: [odd, port] }))
  const again = await open(stateDir)
  t.strictSame(again.loginPorts.read().ports, [port])
  t.match(again.notices, ['does not understand ports'])
})

t.test('after a clean end nothing is supposed; the mark counts once', async (t) => {
  const { stateDir, state } = await setStage(t)
  await state.close()
  const clean = await open(stateDir)
  t.match(clean.ledger.read(), {
    profiles: { a: { generation: 3 } },
    keys: { 'key-a': { handedOut: false } },
  })
  const unclean = await open(stateDir)
  t.match(unclean.ledger.read().keys, { 'key-a': { handedOut: true }, 'key-b': { handedOut: true } })
  t.ok((unclean.ledger.read().profiles.a?.generation ?? 0) > 1000, 'no generation is used twice')
  const fresh = profileRecord(unclean.ledger.read(), 'new').generation
  t.ok(fresh > 1000, 'nor one of a profile that was never written')
})

t.test('a mark does not count for a ledger that was replaced or restored', async (t) => {
  for (const damage of ['restored', 'corrupt'] as const) {
    const { stateDir, state, path } = await setStage(t)
    const older = readFileSync(path)
    await state.ledger.update((current) => ({ ...current, doomed: ['one'] }))
    await state.close()
    writeFileSync(path, damage === 'restored' ? older : '{')
    t.equal((await open(stateDir)).ledger.read().keys['key-a']?.handedOut, true, damage)
  }
})

t.test('a mark that cannot be removed is not believed by the next start either', async (t) => {
  const { stateDir, state } = await setStage(t)
  const run = join(await makeRoot(t), 'run')
  const trace = join(run, 'trace')
  await state.close()
  const mark = readFileSync(join(stateDir, 'clean-end'))
  rmSync(join(stateDir, 'clean-end'))
  // A directory cannot be unlinked, as nothing can be on a read-only disk.
  mkdirSync(join(stateDir, 'clean-end'))
  mkdirSync(run, { mode: 0o700 })
  writeFileSync(trace, '', { mode: 0o600 })
  rmSync(join(stateDir, 'clean-end'), { recursive: true })
  writeFileSync(join(stateDir, 'clean-end'), mark, { mode: 0o600 })
  t.equal((await open(stateDir, { trace })).ledger.read().keys['key-a']?.handedOut, true)
  t.notOk(existsSync(trace), 'the trace counts once')
})

t.test('daemons in a row that could not write that they began use no generation twice', async (t) => {
  const { stateDir } = await setStage(t)
  const trace = join(await makeRoot(t), 'run', 'trace')
  const used = new Map<string, number>()
  const begin = async (more: Partial<StateOptions>) => {
    const state = await open(stateDir, { trace, ...more })
    for (const name of ['a', 'b', 'new']) {
      const { generation } = profileRecord(state.ledger.read(), name)
      t.ok(generation > (used.get(name) ?? 0), `${name} begins with ${generation}`)
      // As many as it may count, and none of them is written.
      used.set(name, generation + 999_999)
    }
    return state
  }
  for (let daemon = 0; daemon < 3; daemon += 1) await begin({ lock: notHeld('disk full') })
  const last = await begin({})
  t.notOk(existsSync(trace), 'what they used is written now')
  await last.close()
  const { generation } = profileRecord(last.ledger.read(), 'a')
  const next = profileRecord((await open(stateDir, { trace })).ledger.read(), 'a')
  t.equal(next.generation, generation, 'after a clean end none is skipped')
})

t.test('a state that could never be written uses no generation twice', async (t) => {
  const stateDir = await makeRoot(t)
  const trace = join(await makeRoot(t), 'run', 'trace')
  const first = await open(stateDir, { trace, lock: notHeld('disk full') })
  t.equal(profileRecord(first.ledger.read(), 'new').generation, 0)
  const second = await open(stateDir, { trace })
  t.ok(profileRecord(second.ledger.read(), 'new').generation > 1000)
})

function notHeld(reason: string) {
  const error = Object.assign(new Error(reason), { code: 'ENOSPC' })
  return {
    permit() {
      throw error
    },
    retry: async () => false,
  }
}

t.test('what killed writers left with a key goes at the start, from a moved vault as well', async (t) => {
  const { stateDir, state } = await setStage(t)
  await state.close()
  const left = ['', 'vault', 'vault-0123abcd'].map((dir) => join(stateDir, dir, 'item.0123456789ab.tmp'))
  const theirs = join(stateDir, 'vault-of-mine', 'item.0123456789ab.tmp')
  for (const path of [...left, theirs]) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, 'pnu_left')
  }
  await open(stateDir)
  t.same(
    left.filter((path) => existsSync(path)),
    [],
  )
  t.ok(existsSync(theirs))
})
