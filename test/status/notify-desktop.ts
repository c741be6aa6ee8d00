/** Desktop notifications over a real bus, and with stand-ins for the programs. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createDesktopNotifier } from '../../src/status/notify-desktop.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'

const PROGRAMS = ['/usr/bin/dbus-daemon', '/usr/bin/dbus-monitor', '/usr/bin/gdbus']

function needsBus(): { skip: string } | Record<string, never> {
  const missing = PROGRAMS.filter((program) => !existsSync(program))
  if (missing.length === 0 || process.env.PAB_REQUIRE_REAL === '1') return {}
  return { skip: `not installed: ${missing.join(', ')}` }
}

/** A session bus of its own. */
function startBus(t: Test): string {
  const root = mkdtempSync(join(tmpdir(), 'pab-bus-'))
  const address = `unix:path=${join(root, 'bus')}`
  const config = join(root, 'bus.conf')
  writeFileSync(
    config,
    `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>${address}</listen><policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`,
  )
  const bus = spawn('/usr/bin/dbus-daemon', [`--config-file=${config}`, '--nofork'], { stdio: 'ignore' })
  t.after(() => {
    bus.kill('SIGKILL')
    rmSync(root, { recursive: true, force: true })
  })
  return address
}

async function until(isThere: () => boolean): Promise<void> {
  while (!isThere()) await new Promise((resolve) => setTimeout(resolve, 10))
}

/** What goes over the bus, as text. */
async function listen(t: Test, address: string): Promise<() => string> {
  let heard = ''
  let monitor: ChildProcess | undefined
  t.after(() => monitor?.kill('SIGKILL'))
  await until(() => existsSync(address.slice('unix:path='.length)))
  monitor = spawn(
    '/usr/bin/dbus-monitor',
    ['--address', address, 'interface=org.freedesktop.Notifications'],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  )
  monitor.stdout?.setEncoding('utf8').on('data', (text: string) => {
    heard += text
  })
  await until(() => heard.includes('NameAcquired') || heard.includes('NameLost'))
  return () => heard
}

const NOTICE = {
  title: "--help 'quoted' \\ title",
  body: 'key <b>of</b> "profile" & more\nNow: prefect-auth login',
}

t.test('sends any text to the bus unchanged', needsBus(), async (t) => {
  const address = startBus(t)
  const heard = await listen(t, address)
  const notify = createDesktopNotifier({
    platform: 'linux',
    env: { DBUS_SESSION_BUS_ADDRESS: address },
    clock: systemClock(),
    log: silentLog(),
  })
  await notify(NOTICE)
  await until(() => heard().includes('int32 -1'))
  const text = heard()
  t.match(text, /member=Notify/)
  t.ok(text.includes(`string "${NOTICE.title}"`), text)
  t.ok(
    text.includes('string "key &lt;b&gt;of&lt;/b&gt; "profile" &amp; more\nNow: prefect-auth login"'),
    text,
  )
})

t.test('runs nothing without a session', async (t) => {
  const dir = t.testdir({ trap: '#!/bin/sh\ntouch "$0.ran"\n' })
  const trap = join(dir, 'trap')
  chmodSync(trap, 0o755)
  const notify = createDesktopNotifier({
    platform: 'linux',
    env: { XDG_RUNTIME_DIR: dir },
    clock: systemClock(),
    log: silentLog(),
    programs: { gdbus: trap, notifySend: trap, osascript: trap },
  })
  await notify(NOTICE)
  t.equal(existsSync(`${trap}.ran`), false)
})

t.test('uses notify-send if gdbus is missing, and tolerates its failure', async (t) => {
  const dir = t.testdir({ send: '#!/bin/sh\nprintf "%s\\n" "$@" > "$0.args"\nexit 1\n' })
  const send = join(dir, 'send')
  chmodSync(send, 0o755)
  const notify = createDesktopNotifier({
    platform: 'linux',
    env: { DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nonexistent' },
    clock: systemClock(),
    log: silentLog(),
    programs: { gdbus: '/nonexistent', notifySend: send, osascript: '/nonexistent' },
  })
  await notify(NOTICE)
  const args = readFileSync(`${send}.args`, 'utf8').split('\n')
  t.equal(args[2], '--', 'what follows is no option')
  t.equal(args[3], NOTICE.title)
})

t.test('passes the text as arguments on macOS, never as part of the script', async (t) => {
  const dir = t.testdir({ osascript: '#!/bin/sh\nprintf "%s\\n" "$@" > "$0.args"\n' })
  const program = join(dir, 'osascript')
  chmodSync(program, 0o755)
  const notify = createDesktopNotifier({
    platform: 'darwin',
    env: {},
    clock: systemClock(),
    log: silentLog(),
    programs: { gdbus: '/nonexistent', notifySend: '/nonexistent', osascript: program },
  })
  await notify({ title: 'a" & do shell script "id', body: 'b' })
  const args = readFileSync(`${program}.args`, 'utf8').split('\n')
  t.strictSame(args.slice(-3), ['a" & do shell script "id', 'b', ''])
  t.equal(args.filter((arg) => arg.includes('do shell script')).length, 1)
})

t.test('has a working bus in this test', needsBus(), async (t) => {
  const address = startBus(t)
  await until(() => existsSync(address.slice('unix:path='.length)))
  const env = { DBUS_SESSION_BUS_ADDRESS: address }
  const args = [
    'call',
    '--session',
    '--dest=org.freedesktop.DBus',
    '--object-path=/',
    '--method=org.freedesktop.DBus.ListNames',
  ]
  t.equal(spawnSync('/usr/bin/gdbus', args, { env }).status, 0)
})
