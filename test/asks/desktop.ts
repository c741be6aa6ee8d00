/** Questions on the desktop, over a real bus, with a real notification service and others that pretend to be it. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { createAskDesktop, isPressedByPeople } from '../../src/asks/desktop.js'
import type { Peer, ProcessFacts } from '../../src/os/peer.js'
import { createLook } from '../../src/os/peer-finder.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'

const SERVICE = fileURLToPath(new URL('../fixtures/notification-service.py', import.meta.url))
const hasGi = spawnSync('/usr/bin/python3', ['-c', 'import gi']).status === 0
const isHere = process.platform === 'linux' && existsSync('/usr/bin/dbus-daemon') && hasGi
if (!isHere && process.env.PAB_REQUIRE_REAL === '1') throw new Error('needs dbus-daemon and python3-gi')
const skip = isHere ? false : 'needs dbus-daemon and python3-gi'
const QUESTION = { id: 3, sentence: 'start <deployment> nightly', token: 'agent', program: 'python[7]' }

async function until<T>(find: () => T | undefined): Promise<T> {
  for (;;) {
    const found = find()
    if (found !== undefined) return found
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** A session bus of its own; resolves with its address. */
async function startBus(t: Test): Promise<string> {
  const root = mkdtempSync(join(tmpdir(), 'pab-bus-'))
  const path = join(root, 'bus')
  const config = join(root, 'bus.conf')
  writeFileSync(
    config,
    `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=${path}</listen><policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`,
  )
  const bus = spawn('/usr/bin/dbus-daemon', [`--config-file=${config}`, '--nofork'], { stdio: 'ignore' })
  t.after(() => {
    bus.kill('SIGKILL')
    rmSync(root, { recursive: true, force: true })
  })
  await until(() => (existsSync(path) ? path : undefined))
  return `unix:path=${path}`
}

interface Service {
  readonly child: ChildProcess
  /** The first line like this that it has printed, or prints next. */
  line(pattern: RegExp): Promise<string>
  press(id: string, key: string): void
}

async function startService(t: Test, address: string): Promise<Service> {
  const env = { PATH: process.env.PATH, DBUS_SESSION_BUS_ADDRESS: address }
  const child = spawn('/usr/bin/python3', [SERVICE], { env, stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => void child.kill('SIGKILL'))
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const line = (pattern: RegExp) => until(() => said.split('\n').find((one) => pattern.test(one)))
  await line(/^ready/)
  return { child, line, press: (id, key) => void child.stdin.write(`press ${id} ${key}\n`) }
}

const uid = process.getuid?.()

function asker(
  address: string,
  isTrusted: { bus(peer: Peer): boolean; service(peer: Peer): boolean } = {
    bus: () => true,
    service: () => true,
  },
) {
  const clock = systemClock()
  const look = createLook({ clock, platform: 'linux' })
  return createAskDesktop({ findBus: () => address, uid, clock, log: silentLog(), look, isTrusted })
}

const open = () => new AbortController().signal
/** Longer than what nobody can have read. */
const read = () => new Promise((resolve) => setTimeout(resolve, 800))

for (const key of ['yes', 'no'] as const) {
  t.test(`the button ${key} is the answer`, { skip }, async (t) => {
    const address = await startBus(t)
    const service = await startService(t, address)
    const answer = asker(address)(QUESTION, open())
    const shown = await service.line(/^shown 1/)
    t.match(shown, /start &lt;deployment&gt; nightly\\nasked with token agent, python\[7\]/)
    t.match(shown, "['yes', 'Yes', 'no', 'No'] {'urgency': 2} 0")
    await read()
    service.press('1', key)
    t.equal(await answer, key)
  })
}

t.test('signals of other connections are no answer, whatever name they have', { skip }, async (t) => {
  const address = await startBus(t)
  const service = await startService(t, address)
  let settled: string | undefined = 'waiting'
  const answer = asker(address)(QUESTION, open()).then((one) => {
    settled = one
    return one
  })
  const [, to = ''] = / to (:\S+)/.exec(await service.line(/^shown 1/)) ?? []
  await read()
  const forge = (...more: readonly string[]) =>
    execFileSync(
      '/usr/bin/gdbus',
      [
        ...['emit', '--session', '--object-path', '/org/freedesktop/Notifications', ...more],
        ...['--signal', 'org.freedesktop.Notifications.ActionInvoked', 'uint32 1', '"yes"'],
      ],
      { env: { DBUS_SESSION_BUS_ADDRESS: address } },
    )
  forge()
  forge('--dest', to)
  // It takes the name over, as `--replace` does, and has the same number.
  const other = await startService(t, address)
  other.press('1', 'yes')
  await read()
  t.equal(settled, 'waiting')
  service.press('1', 'no')
  t.equal(await answer, 'no')
})

t.test('a judge who takes any signal would have believed each of them', { skip }, async (t) => {
  const address = await startBus(t)
  await startService(t, address)
  const env = { DBUS_SESSION_BUS_ADDRESS: address }
  const monitor = spawn('/usr/bin/gdbus', ['monitor', '--session', '--dest', 'org.freedesktop.DBus'], { env })
  t.after(() => void monitor.kill('SIGKILL'))
  const naive = spawn(
    '/usr/bin/dbus-monitor',
    ['--address', address, "type='signal',member='ActionInvoked'"],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  t.after(() => void naive.kill('SIGKILL'))
  let heard = ''
  naive.stdout.setEncoding('utf8').on('data', (text: string) => {
    heard += text
  })
  await until(() => (/NameLost/.test(heard) ? true : undefined))
  execFileSync(
    '/usr/bin/gdbus',
    [
      ...['emit', '--session', '--object-path', '/org/freedesktop/Notifications'],
      ...['--signal', 'org.freedesktop.Notifications.ActionInvoked', 'uint32 1', '"yes"'],
    ],
    { env },
  )
  t.ok(
    await until(() => (/member=ActionInvoked\n\s+uint32 1\n\s+string "yes"/.test(heard) ? true : undefined)),
  )
})

t.test('a press before anybody can have read it is none', { skip }, async (t) => {
  const address = await startBus(t)
  const service = await startService(t, address)
  const answer = asker(address)(QUESTION, open())
  await service.line(/^shown 1/)
  service.press('1', 'yes')
  t.equal(await answer, undefined)
})

t.test('is closed with its question', { skip }, async (t) => {
  const address = await startBus(t)
  const service = await startService(t, address)
  const closing = new AbortController()
  const answer = asker(address)(QUESTION, closing.signal)
  await service.line(/^shown 1/)
  closing.abort()
  t.equal(await answer, undefined)
  t.equal(await service.line(/^closed/), 'closed 1')
})

t.test('ends with the bus, and without one', { skip }, async (t) => {
  const address = await startBus(t)
  t.equal(await asker('unix:path=/nonexistent')(QUESTION, open()), 'unshown')
  t.equal(await asker('tcp:host=127.0.0.1,port=1')(QUESTION, open()), 'unshown')
  t.equal(await asker(address)(QUESTION, open()), 'unshown', 'no service')
})

t.test('a service that is not the desktop’s gets no buttons', { skip }, async (t) => {
  const address = await startBus(t)
  const service = await startService(t, address)
  const trusted = { bus: () => true, service: isPressedByPeople }
  t.equal(await asker(address, trusted)(QUESTION, open()), undefined)
  t.match(await service.line(/^shown 1/), /prefect-auth asks yes 3' \[\] /)
})

t.test('finds the bus itself at its socket, and no bus that says so', { skip }, async (t) => {
  const address = await startBus(t)
  const service = await startService(t, address)
  const seen: (string | undefined)[] = []
  const isTrusted = {
    bus: (peer: Peer) => {
      seen.push(peer.chain[0]?.name)
      return false
    },
    service: () => true,
  }
  t.equal(await asker(address, isTrusted)(QUESTION, open()), 'unshown')
  t.strictSame(seen, ['dbus-daemon'])
  service.child.kill()
})

/** A service with the user manager above it. */
function serviceOf(part: Partial<ProcessFacts>, above: Partial<ProcessFacts> = {}): Peer {
  const one = { startedAt: 1, uid: 1000, tty: 0, group: '/', hasPlainArguments: true, isTraced: false }
  const chain = [
    { ...one, pid: 9, parent: 8, name: 'gnome-shell', isSystemProgram: true, ...part },
    { ...one, pid: 8, parent: 1, name: 'systemd', isSystemProgram: true, ...above },
    { ...one, pid: 1, parent: 0, name: 'systemd', uid: 0, isSystemProgram: false },
  ]
  return { seenAt: 1, chain, shown: '' }
}

const table: readonly (readonly [title: string, peer: Peer, isTrusted: boolean])[] = [
  ['gnome-shell', serviceOf({}), true],
  ['plasmashell', serviceOf({ name: 'plasmashell' }), true],
  [
    'the service of GNOME',
    serviceOf({ name: 'gjs-console', systemScript: 'org.gnome.Shell.Notifications' }),
    true,
  ],
  ['another script in the same program', serviceOf({ name: 'gjs-console' }), false],
  ['a program of that name in the home', serviceOf({ isSystemProgram: false }), false],
  ['dunst, which dunstctl presses', serviceOf({ name: 'dunst' }), false],
  ['mako, which makoctl presses', serviceOf({ name: 'mako' }), false],
  ['one that an agent started', serviceOf({}, { name: 'claude' }), false],
  ['one that a job started', serviceOf({ job: 'ab' }), false],
  ['one under a debugger', serviceOf({ isTraced: true }), false],
  ['one that has ended', { seenAt: 1, chain: [], shown: '' }, false],
]
for (const [title, peer, isTrusted] of table) {
  t.test(`${isTrusted ? 'believes' : 'does not believe'} ${title}`, async (t) => {
    t.equal(isPressedByPeople(peer), isTrusted)
  })
}
