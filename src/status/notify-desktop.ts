/**
 * Says something to a person on the desktop: freedesktop notifications on Linux, Notification Center on macOS. Where there
 * is no desktop session, nothing happens: status, readiness and events say the same.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type ProgramCall, runProgram } from '../os/run-program.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { Notice } from './notify.js'

interface NotifyDesktopDeps {
  readonly platform: NodeJS.Platform
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  readonly log: Log
  /** Absolute paths; the system's unless told otherwise. */
  readonly programs?: { readonly gdbus: string; readonly notifySend: string; readonly osascript: string }
}

const PROGRAMS = {
  gdbus: '/usr/bin/gdbus',
  notifySend: '/usr/bin/notify-send',
  osascript: '/usr/bin/osascript',
}
/** A notification service that hangs must not pile up programs. */
const DEADLINE_MS = 5_000

/** Never rejects, never waits longer than the deadline; what failed stands in the log. */
export function createDesktopNotifier(deps: NotifyDesktopDeps): (notice: Notice) => Promise<void> {
  return async (notice) => {
    const call = planCall(deps, notice)
    if (call === undefined) return
    const result = await runProgram({ ...call, deadlineMs: DEADLINE_MS }, deps.clock)
    if (result.kind === 'exited' && result.code === 0) return
    deps.log.debug({ program: call.file, result: result.kind }, 'a desktop notification could not be shown')
  }
}

function planCall(
  { platform, env, programs = PROGRAMS }: NotifyDesktopDeps,
  notice: Notice,
): Omit<ProgramCall, 'deadlineMs'> | undefined {
  if (platform === 'darwin') return callOsascript(programs.osascript, notice)
  const bus = findSessionBus(env)
  if (bus === undefined) return undefined
  const session = { DBUS_SESSION_BUS_ADDRESS: bus }
  if (existsSync(programs.gdbus)) return { ...callGdbus(programs.gdbus, notice), env: session }
  if (!existsSync(programs.notifySend)) return undefined
  const args = [
    '--app-name=prefect-auth',
    '--urgency=critical',
    '--',
    notice.title,
    escapeMarkup(notice.body),
  ]
  return { file: programs.notifySend, args, env: session }
}

function findSessionBus(env: NotifyDesktopDeps['env']): string | undefined {
  const { DBUS_SESSION_BUS_ADDRESS: address, XDG_RUNTIME_DIR: runtime } = env
  if (address) return address
  const socket = runtime ? join(runtime, 'bus') : undefined
  return socket !== undefined && existsSync(socket) ? `unix:path=${socket}` : undefined
}

/** org.freedesktop.Notifications.Notify(susssasa{sv}i), Desktop Notifications Specification 1.2; -1: the server's own time-out. */
function callGdbus(file: string, { title, body }: Notice): Pick<ProgramCall, 'file' | 'args'> {
  const [app = '', icon = '', summary = '', text = ''] = ['prefect-auth', '', title, escapeMarkup(body)].map(
    quote,
  )
  return {
    file,
    args: [
      ...['call', '--session', '--timeout=3', '--dest=org.freedesktop.Notifications'],
      ...['--object-path=/org/freedesktop/Notifications', '--method=org.freedesktop.Notifications.Notify'],
      ...['--', app, 'uint32 0', icon, summary, text, '@as []', '@a{sv} {}', 'int32 -1'],
    ],
  }
}

/** GVariant's text form of a string: gdbus reads its arguments so, and `--` or a quote must not become something else. */
function quote(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&').replaceAll('\n', '\\n')}'`
}

/** Bodies may hold simple markup. */
function escapeMarkup(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

/** The text goes in as arguments, never into the script. */
function callOsascript(file: string, { title, body }: Notice): Omit<ProgramCall, 'deadlineMs'> {
  const script = [
    'on run argv',
    'display notification (item 2 of argv) with title (item 1 of argv)',
    'end run',
  ]
  return { file, args: [...script.flatMap((line) => ['-e', line]), title, body], env: {} }
}
