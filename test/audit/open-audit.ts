/** The audit log: batched, rotated, readable after a crash, and no burden when the disk fails. */
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
import type { AuditEntry } from '../../src/audit/audit.js'
import { type AuditFileOptions, openAuditFile } from '../../src/audit/open-audit.js'
import type { Clock } from '../../src/std/clock.js'
import { keepingLog } from '../fixtures/cloud-client.js'

const GIVEN = { action: 'credentials', outcome: 'given', door: 'socket', profile: 'cloud' } as const

/** Time stands until a test moves it. */
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

t.test('what is recorded comes back, oldest first, with every field', async (t) => {
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
  t.strictSame(await audit.read(), [
    { at: state.now - 1000, ...GIVEN },
    { at: state.now, ...full },
  ])
  t.strictSame(await audit.read(state.now), [{ at: state.now, ...full }])
  t.strictSame(await audit.read(state.now + 1), [])
})

t.test('many records are one write, on a timer; the file is 0600', async (t) => {
  const { audit, path, timers, fire } = open(t)
  for (let count = 0; count < 100; count += 1) audit.record(GIVEN)
  t.equal(timers.size, 1)
  t.notOk(existsSync(path))
  fire()
  t.equal((await audit.read()).length, 100)
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.match(
    readFileSync(path, 'utf8').split('\n')[0],
    /^\{"at":"2026-01-01T00:00:00\.000Z","action":"credentials"/,
  )
})

t.test('close writes what is pending; afterwards nothing is taken', async (t) => {
  const { audit, path } = open(t)
  audit.record(GIVEN)
  await audit.close()
  audit.record(GIVEN)
  await audit.close()
  t.equal(readFileSync(path, 'utf8').trim().split('\n').length, 1)
})

t.test('an agent with control characters, or a long one, is made plain', async (t) => {
  const { audit } = open(t)
  audit.record({ ...GIVEN, agent: `\x1b[2J${'x'.repeat(200)}` })
  const agent = (await audit.read())[0]?.agent ?? ''
  t.equal(agent.length, 80)
  t.notMatch(agent, '\x1b')
})

const DAMAGE: readonly (readonly [name: string, damage: (path: string) => void, kept: number])[] = [
  ['half a line at the end', (path) => truncateSync(path, statSync(path).size - 10), 2],
  ['a line of a stranger', (path) => appendFileSync(path, 'hello\n{"at":"2099"}\n[]\n'), 3],
  [
    'a line with an unknown action',
    (path) =>
      appendFileSync(
        path,
        '{"at":"2026-01-01T00:00:00.000Z","action":"fly","outcome":"done","door":"tcp"}\n',
      ),
    3,
  ],
  ['zeros at the end, as a power cut leaves them', (path) => appendFileSync(path, Buffer.alloc(100)), 3],
  ['no file any more', (path) => unlinkSync(path), 0],
]

for (const [name, damage, kept] of DAMAGE) {
  t.test(`with ${name}, the rest is read and the next line is whole`, async (t) => {
    const { audit, path, stateDir, clock } = open(t)
    for (let count = 0; count < 3; count += 1) audit.record(GIVEN)
    await audit.close()
    damage(path)
    const again = openAuditFile({ stateDir, clock, log: keepingLog().log })
    t.equal((await again.read()).length, kept)
    again.record({ ...GIVEN, profile: 'next' })
    const entries = await again.read()
    t.equal(entries.length, kept + 1)
    t.equal(entries.at(-1)?.profile, 'next')
    await again.close()
  })
}

t.test('files are rotated by size, three are kept, and are read across', async (t) => {
  const { audit, stateDir, state } = open(t, { maxBytes: 400 })
  for (let count = 0; count < 60; count += 1) {
    state.now += 1000
    audit.record({ ...GIVEN, profile: `p${count}` })
    await audit.read(state.now)
  }
  t.strictSame(readdirSync(stateDir).sort(), [
    'audit.jsonl',
    'audit.jsonl.1',
    'audit.jsonl.2',
    'audit.jsonl.3',
  ])
  for (const name of readdirSync(stateDir)) t.ok(statSync(join(stateDir, name)).size < 600, name)
  const profiles = (await audit.read()).map(({ profile }) => profile)
  t.ok(profiles.length >= 12, `${profiles.length}`)
  t.strictSame(
    profiles,
    Array.from({ length: profiles.length }, (_, index) => `p${60 - profiles.length + index}`),
  )
})

t.test('at most the newest 10 000 are read', async (t) => {
  const { audit } = open(t)
  for (let count = 0; count < 10_005; count += 1) audit.record({ ...GIVEN, profile: `p${count}` })
  const entries = await audit.read()
  t.equal(entries.length, 10_000)
  t.equal(entries[0]?.profile, 'p5')
  t.equal(entries.at(-1)?.profile, 'p10004')
})

t.test('a failing disk is told once, nothing is lost, and its recovery is told', async (t) => {
  const stateDir = join(t.testdir({}), 'state')
  const { audit, path, lines, fire } = open(t, { stateDir })
  for (let count = 0; count < 3; count += 1) {
    audit.record({ ...GIVEN, profile: `p${count}` })
    fire()
    t.equal((await audit.read()).length, count + 1, 'what is in memory is read')
  }
  t.match(audit.problem(), /the audit log can't be written: ENOENT/)
  t.equal(lines.length, 1)
  mkdirSync(stateDir)
  fire()
  t.equal((await audit.read()).length, 3)
  t.equal(audit.problem(), undefined)
  t.equal(lines.length, 2)
  t.equal(readFileSync(path, 'utf8').trim().split('\n').length, 3)
})

t.test('an outage without end keeps the newest, not everything', async (t) => {
  const stateDir = join(t.testdir({}), 'missing')
  const { audit, path, fire, lines } = open(t, { stateDir })
  for (let count = 0; count < 120_000; count += 1) audit.record(GIVEN)
  fire()
  t.ok((await audit.read()).length > 0)
  mkdirSync(stateDir)
  await audit.close()
  t.equal(readFileSync(path, 'utf8').trim().split('\n').length, 50_000)
  t.match(lines.at(-1), '"lost":70000')
})

t.test(
  'a directory in the place of the file rejects a read with disk_failed, and record stays quiet',
  async (t) => {
    const { audit, path } = open(t)
    mkdirSync(path)
    t.doesNotThrow(() => audit.record(GIVEN))
    await t.rejects(audit.read(), { code: 'disk_failed', hint: /ls -l/ })
    t.ok(audit.problem())
    rmSync(path, { recursive: true })
  },
)

t.test('a file that anyone may read is made private, a link is not followed', async (t) => {
  const { audit, path, stateDir } = open(t)
  writeFileSync(path, '', { mode: 0o644 })
  audit.record(GIVEN)
  await audit.read()
  t.equal(statSync(path).mode & 0o777, 0o600)
  const linked = open(t, {
    stateDir: t.testdir({ target: '', 'audit.jsonl': t.fixture('symlink', 'target') }),
  })
  linked.audit.record(GIVEN)
  await linked.audit.read()
  t.match(linked.audit.problem(), 'ELOOP')
  t.equal(statSync(join(linked.stateDir, 'target')).size, 0)
  t.ok(existsSync(stateDir))
})
