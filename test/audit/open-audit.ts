/** The audit log: batched, rotated, readable after a crash, and harmless while the disk fails. */
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Audit, AuditEntry } from '../../src/audit/audit.js'
import { type AuditFileOptions, openAuditFile } from '../../src/audit/open-audit.js'
import type { Clock } from '../../src/std/clock.js'
import { keepingLog } from '../fixtures/cloud-client.js'

const GIVEN = { action: 'credentials', outcome: 'given', door: 'socket', profile: 'cloud' } as const

/** Time stops until a test moves it. */
function createManualClock() {
  const timers = new Set<() => void>()
  const state = { now: Date.parse('2026-01-01T00:00:00Z') }
  const clock: Clock = {
    now: () => state.now,
    monotonic: () => state.now,
    after(_ms, run) {
      timers.add(run)
      return { cancel: () => void timers.delete(run) }
    },
  }
  const fire = () => {
    const due = [...timers]
    timers.clear()
    for (const run of due) run()
  }
  return { clock, state, timers, fire }
}

function open(t: Test, options: Partial<AuditFileOptions> = {}) {
  const stateDir = options.stateDir ?? t.testdir({})
  const time = createManualClock()
  const { log, lines } = keepingLog()
  const audit = openAuditFile({ stateDir, clock: time.clock, log, ...options })
  t.teardown(() => audit.close())
  return { audit, stateDir, path: join(stateDir, 'audit.jsonl'), lines, ...time }
}

async function entriesOf(audit: Audit, since?: number): Promise<readonly AuditEntry[]> {
  return [...(await audit.read(since))].flat()
}

t.test('reads back what was recorded, oldest first, with every field', async (t) => {
  const { audit, state } = open(t)
  const full: Omit<AuditEntry, 'at'> = {
    action: 'refused',
    outcome: 'refused',
    door: 'tcp',
    profile: 'a "b"\n',
    fingerprint: 'sha256:1f2e3d4c5b6a',
    tokenId: 't1',
    tokenName: 'job',
    agent: 'curl/8 (x)',
    code: 'token_invalid',
  }
  audit.record(GIVEN)
  state.now += 1000
  audit.record(full)
  t.strictSame(await entriesOf(audit), [
    { at: state.now - 1000, ...GIVEN },
    { at: state.now, ...full },
  ])
  t.strictSame(await entriesOf(audit, state.now), [{ at: state.now, ...full }])
  t.strictSame(await entriesOf(audit, state.now + 1), [])
})

t.test('writes many records at once, on a timer, to a file with mode 0600', async (t) => {
  const { audit, path, timers, fire } = open(t)
  for (let count = 0; count < 100; count += 1) audit.record(GIVEN)
  t.equal(timers.size, 1)
  t.notOk(existsSync(path))
  fire()
  t.equal((await entriesOf(audit)).length, 100)
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.match(
    readFileSync(path, 'utf8').split('\n')[0],
    /^\{"at":"2026-01-01T00:00:00\.000Z","action":"credentials"/,
  )
})

t.test('writes pending records on close and drops later ones', async (t) => {
  const { audit, path } = open(t)
  audit.record(GIVEN)
  await audit.close()
  audit.record(GIVEN)
  await audit.close()
  t.equal(readFileSync(path, 'utf8').trim().split('\n').length, 1)
})

t.test('strips control characters from agents and shortens them', async (t) => {
  const { audit } = open(t)
  audit.record({ ...GIVEN, agent: `\x1b[2J${'x'.repeat(200)}` })
  const agent = (await entriesOf(audit))[0]?.agent ?? ''
  t.equal(agent.length, 80)
  t.notMatch(agent, '\x1b')
})

t.test('reads back renewals and rotations of keys', async (t) => {
  const { audit } = open(t)
  const rows = ['key_created', 'key_renewed', 'key_rotated', 'key_deleted'] as const
  for (const action of rows) audit.record({ ...GIVEN, action, outcome: 'done' })
  t.strictSame(
    (await entriesOf(audit)).map(({ action }) => action),
    rows,
  )
})

const DAMAGE: readonly (readonly [name: string, damage: (path: string) => void, kept: number])[] = [
  ['half a line at the end', (path) => truncateSync(path, statSync(path).size - 10), 2],
  ['a foreign line', (path) => appendFileSync(path, 'hello\n{"at":"2099"}\n[]\n'), 3],
  [
    'a line with an unknown action',
    (path) =>
      appendFileSync(
        path,
        '{"at":"2026-01-01T00:00:00.000Z","action":"fly","outcome":"done","door":"tcp"}\n',
      ),
    3,
  ],
  ['zeros at the end, as left by a power cut', (path) => appendFileSync(path, Buffer.alloc(100)), 3],
  ['the file deleted', (path) => unlinkSync(path), 0],
]

for (const [name, damage, kept] of DAMAGE) {
  t.test(`reads the rest and appends a whole line after damage: ${name}`, async (t) => {
    const { audit, path, stateDir, clock } = open(t)
    for (let count = 0; count < 3; count += 1) audit.record(GIVEN)
    await audit.close()
    damage(path)
    const again = openAuditFile({ stateDir, clock, log: keepingLog().log })
    t.equal((await entriesOf(again)).length, kept)
    again.record({ ...GIVEN, profile: 'next' })
    const entries = await entriesOf(again)
    t.equal(entries.length, kept + 1)
    t.equal(entries.at(-1)?.profile, 'next')
    await again.close()
  })
}

t.test('rotates by size, keeps three old files, and reads across all of them', async (t) => {
  const { audit, stateDir, state } = open(t, { maxBytes: 400 })
  for (let count = 0; count < 60; count += 1) {
    state.now += 1000
    audit.record({ ...GIVEN, profile: `p${count}` })
    await entriesOf(audit, state.now)
  }
  t.strictSame(readdirSync(stateDir).sort(), [
    'audit-kept.jsonl',
    'audit.jsonl',
    'audit.jsonl.1',
    'audit.jsonl.2',
    'audit.jsonl.3',
  ])
  for (const name of readdirSync(stateDir)) t.ok(statSync(join(stateDir, name)).size < 600, name)
  const profiles = (await entriesOf(audit)).map(({ profile }) => profile)
  t.ok(profiles.length >= 12, `${profiles.length}`)
  t.strictSame(
    profiles,
    Array.from({ length: profiles.length }, (_, index) => `p${60 - profiles.length + index}`),
  )
})

t.test('has an urgent line in the file before it returns, in order, and after half a line', async (t) => {
  const { audit, path, fire } = open(t)
  const profiles = () =>
    readFileSync(path, 'utf8')
      .split('\n')
      .flatMap((line) => /"profile":"(\w+)"/.exec(line)?.[1] ?? [])
  audit.record({ ...GIVEN, profile: 'waits' })
  audit.record({ ...GIVEN, profile: 'urgent' }, { isUrgent: true })
  t.strictSame(profiles(), ['waits', 'urgent'])
  fire()
  t.equal((await entriesOf(audit)).length, 2, 'nothing is written twice')
  truncateSync(path, statSync(path).size - 10)
  audit.record({ ...GIVEN, profile: 'next' }, { isUrgent: true })
  t.strictSame(
    (await entriesOf(audit)).map(({ profile }) => profile),
    ['waits', 'next'],
  )
  t.equal(statSync(path).mode & 0o777, 0o600)
})

t.test('puts a caller into the entries of its connection, and says so if it is unknown', async (t) => {
  const { audit } = open(t)
  audit.record({ ...GIVEN, conn: 'a' })
  audit.record({ ...GIVEN, conn: 'b' })
  audit.record({ action: 'caller', outcome: 'done', door: 'daemon', conn: 'a', caller: 'curl[7] < bash[6]' })
  audit.record({ ...GIVEN, door: 'daemon' })
  t.strictSame(
    (await entriesOf(audit)).map(({ caller }) => caller),
    ['curl[7] < bash[6]', 'unknown', undefined],
  )
})

t.test('an urgent line waits like any other while the disk fails', async (t) => {
  const stateDir = join(t.testdir({}), 'state')
  const { audit, fire } = open(t, { stateDir })
  audit.record(GIVEN, { isUrgent: true })
  fire()
  t.equal((await entriesOf(audit)).length, 1)
  audit.record(GIVEN, { isUrgent: true })
  mkdirSync(stateDir)
  fire()
  t.equal((await entriesOf(audit)).length, 2)
})

t.test("one token's flood never pushes another's lines out, and the log stays bounded", async (t) => {
  const { audit, stateDir, state } = open(t, { maxBytes: 4_000 })
  const note = async (entry: Partial<AuditEntry>) => {
    state.now += 1000
    audit.record({ ...GIVEN, ...entry })
    await entriesOf(audit, state.now)
  }
  await note({ profile: 'of the owner' })
  await note({ tokenId: 'quiet', profile: 'of a job' })
  await note({ action: 'refused', outcome: 'refused', code: 'token_required', profile: 'of a stranger' })
  for (let count = 0; count < 300; count += 1) await note({ tokenId: 'loud', profile: `p${count}` })
  const entries = await entriesOf(audit)
  t.strictSame(
    entries.slice(0, 3).map(({ profile }) => profile),
    ['of the owner', 'of a job', 'of a stranger'],
  )
  t.equal(entries.at(-1)?.profile, 'p299')
  const sizes = readdirSync(stateDir).map((name) => statSync(join(stateDir, name)).size)
  t.ok(Math.max(...sizes) < 4_400, String(sizes))
  t.equal(sizes.length, 5)
})

t.test('reads at most the newest 10 000', async (t) => {
  const { audit } = open(t)
  for (let count = 0; count < 10_005; count += 1) audit.record({ ...GIVEN, profile: `p${count}` })
  const entries = await entriesOf(audit)
  t.equal(entries.length, 10_000)
  t.equal(entries[0]?.profile, 'p5')
  t.equal(entries.at(-1)?.profile, 'p10004')
})

t.test('logs a failing disk once and its recovery once, and loses nothing', async (t) => {
  const stateDir = join(t.testdir({}), 'state')
  const { audit, path, lines, fire } = open(t, { stateDir })
  for (let count = 0; count < 3; count += 1) {
    audit.record({ ...GIVEN, profile: `p${count}` })
    fire()
    t.equal((await entriesOf(audit)).length, count + 1, 'what is in memory is read')
  }
  t.match(
    audit.problem(),
    /cannot write .*audit\.jsonl: no such file or directory; 3 lines wait in memory, 0 are lost/,
  )
  t.equal(lines.length, 1)
  mkdirSync(stateDir)
  fire()
  t.equal((await entriesOf(audit)).length, 3)
  t.equal(audit.problem(), undefined)
  t.equal(lines.length, 2)
  t.equal(readFileSync(path, 'utf8').trim().split('\n').length, 3)
})

t.test('keeps only the newest records during a long outage', async (t) => {
  const stateDir = join(t.testdir({}), 'missing')
  const { audit, path, fire, lines } = open(t, { stateDir })
  for (let count = 0; count < 120_000; count += 1) audit.record(GIVEN)
  fire()
  t.ok((await entriesOf(audit)).length > 0)
  mkdirSync(stateDir)
  await audit.close()
  t.equal(readFileSync(path, 'utf8').trim().split('\n').length, 50_000)
  t.match(lines.at(-1), '"lost":70000')
})

t.test(
  'rejects a read with disk_failed if the file is a directory, but never throws from record',
  async (t) => {
    const { audit, path } = open(t)
    mkdirSync(path)
    t.doesNotThrow(() => audit.record(GIVEN))
    await t.rejects(audit.read(), { code: 'disk_failed', hint: /ls -l/ })
    t.ok(audit.problem())
    rmSync(path, { recursive: true })
  },
)

t.test('makes a readable file private and does not follow a link', async (t) => {
  const { audit, path, stateDir } = open(t)
  writeFileSync(path, '', { mode: 0o644 })
  audit.record(GIVEN)
  await entriesOf(audit)
  t.equal(statSync(path).mode & 0o777, 0o600)
  const linked = open(t, {
    stateDir: t.testdir({ target: '', 'audit.jsonl': t.fixture('symlink', 'target') }),
  })
  linked.audit.record(GIVEN)
  await linked.audit.read()
  t.match(linked.audit.problem(), 'it is a symbolic link')
  t.equal(statSync(join(linked.stateDir, 'target')).size, 0)
  t.ok(existsSync(stateDir))
})

t.test(
  'keeps a bounded number of lines while the disk fails; counts and reports those it lost',
  async (t) => {
    const stateDir = join(t.testdir({}), 'state')
    const { audit, path, fire } = open(t, { stateDir, maxPending: 5 })
    for (let count = 0; count < 30; count += 1) audit.record({ ...GIVEN, profile: `p${count}` })
    fire()
    await entriesOf(audit)
    t.match(audit.problem(), /5 lines wait in memory, 25 are lost/)
    mkdirSync(stateDir)
    fire()
    const kept = (await entriesOf(audit)).map(({ profile }) => profile)
    t.strictSame(kept, ['p25', 'p26', 'p27', 'p28', 'p29'], 'the newest are kept')
    t.equal(audit.problem(), undefined)
    t.strictSame(audit.notices(), ['25 lines of the audit log were lost while its disk failed'])
    t.equal(readFileSync(path, 'utf8').trim().split('\n').length, 5)
  },
)

t.test('a pipe in place of the lines that were kept holds up nothing', async (t) => {
  const stateDir = t.testdir({ 'audit.jsonl.1': 'x\n' })
  execFileSync('mkfifo', [join(stateDir, 'audit-kept.jsonl')])
  const { audit, fire } = open(t, { stateDir, maxBytes: 1, keep: 1 })
  audit.record(GIVEN)
  fire()
  await t.rejects(audit.read(), { code: 'disk_failed' })
  audit.record(GIVEN)
  fire()
  await audit.close()
  t.match(audit.problem(), /cannot write/)
})

t.test('a pipe in place of the log makes neither a line nor the close wait', async (t) => {
  const stateDir = t.testdir({})
  execFileSync('mkfifo', [join(stateDir, 'audit.jsonl')])
  const { audit, fire } = open(t, { stateDir })
  audit.record(GIVEN)
  fire()
  await t.rejects(audit.read(), { code: 'disk_failed' })
  t.match(audit.problem(), /1 lines wait/)
  await audit.close()
})
