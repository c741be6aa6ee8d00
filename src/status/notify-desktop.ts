/** Desktop notifications: by freedesktop.org's service on Linux, by Notification Center on macOS. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type ProgramCall, runProgram } from '../os/run-program.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { Notice } from './notify.js'

interface DesktopParts {
  readonly platform: NodeJS.Platform
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  readonly log: Log
  /** Absolute paths; the system's by default. */
  readonly programs?: { readonly gdbus: string; readonly notifySend: string; readonly osascript: string }
}

const PROGRAMS = {
  gdbus: '/usr/bin/gdbus',
  notifySend: '/usr/bin/notify-send',
  osascript: '/usr/bin/osascript',
}
/** Keeps processes from piling up if the notification service hangs. */
const DEADLINE_MS = 5 * SECOND_MS

/**
 * Shows one notice. Never rejects and never takes longer than the deadline; failures are logged. Does nothing without a
 * desktop session: status, readiness and events carry the same facts.
 */
export function createDesktopNotifier({
  platform,
  env,
  clock,
  log,
  programs = PROGRAMS,
}: DesktopParts): (notice: Notice) => Promise<void> {
  return async (notice) => {
    const call =
      platform === 'darwin'
        ? callOsascript(programs.osascript, notice)
        : callLinux(programs, findSessionBus(env), notice)
    if (call === undefined) return
    const result = await runProgram({ ...call, deadlineMs: DEADLINE_MS }, clock)
    if (result.kind === 'exited' && result.code === 0) return
    log.debug({ program: call.file, result: result.kind }, 'desktop notification failed')
  }
}

function callLinux(
  programs: typeof PROGRAMS,
  bus: string | undefined,
  notice: Notice,
): Omit<ProgramCall, 'deadlineMs'> | undefined {
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

export function findSessionBus(env: DesktopParts['env']): string | undefined {
  const { DBUS_SESSION_BUS_ADDRESS: address, XDG_RUNTIME_DIR: runtime } = env
  if (address) return address
  const socket = runtime ? join(runtime, 'bus') : undefined
  return socket !== undefined && existsSync(socket) ? `unix:path=${socket}` : undefined
}

/** org.freedesktop.Notifications.Notify(susssasa{sv}i), Desktop Notifications Specification 1.2; -1: the server's own timeout. */
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

/** Quotes a string as GVariant text, the form in which gdbus reads its arguments: options and quotes stay plain text. */
function quote(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&').replaceAll('\n', '\\n')}'`
}

/** A body is read as simple markup. */
function escapeMarkup(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

/** The text is passed as arguments and never becomes part of the script. */
function callOsascript(file: string, { title, body }: Notice): Omit<ProgramCall, 'deadlineMs'> {
  const script = [
    'on run argv',
    'display notification (item 2 of argv) with title (item 1 of argv)',
    'end run',
  ]
  return { file, args: [...script.flatMap((line) => ['-e', line]), title, body], env: {} }
}
