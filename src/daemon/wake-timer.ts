/** When systemd's timer starts the daemon again. */
import { findExecutable, type ProgramResult, runProgram } from '../os/run-program.js'
import { type Clock, SECOND_MS } from '../std/clock.js'

interface WakeTimerDeps {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  /** Absolute paths; the first that exists is run. */
  readonly programs?: readonly string[]
}

/** Absolute: whoever can write to a directory in PATH must not answer for systemd. The last one is NixOS's. */
const SYSTEMCTL = ['/usr/bin/systemctl', '/bin/systemctl', '/run/current-system/sw/bin/systemctl']

const QUESTION = [
  ...['--user', 'show', 'prefect-authd.timer'],
  ...['-p', 'ActiveState', '-p', 'NextElapseUSecRealtime'],
]

const DEADLINE_MS = 5 * SECOND_MS

/** Epoch ms; `undefined` if the timer does not run or systemd does not say. Never rejects. */
export function createWakeTimer({ env, clock, programs = SYSTEMCTL }: WakeTimerDeps) {
  return async (): Promise<number | undefined> => {
    const file = await findExecutable(programs)
    if (file === undefined) return undefined
    const session = Object.fromEntries(
      ['XDG_RUNTIME_DIR', 'DBUS_SESSION_BUS_ADDRESS'].flatMap((name) =>
        env[name] === undefined ? [] : [[name, env[name]]],
      ),
    )
    // Its output is for people: fix the language and the time zone.
    const call = {
      file,
      args: QUESTION,
      env: { ...session, LC_ALL: 'C', TZ: 'UTC' },
      deadlineMs: DEADLINE_MS,
    }
    return readNextElapse(await runProgram(call, clock))
  }
}

/** Pure. */
export function readNextElapse(result: ProgramResult): number | undefined {
  if (result.kind !== 'exited' || result.code !== 0) return undefined
  if (!/^ActiveState=active$/m.test(result.stdout)) return undefined
  const shown = /^NextElapseUSecRealtime=\w{3} (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC$/m.exec(result.stdout)
  if (shown === null) return undefined
  const at = Date.parse(`${shown[1]}T${shown[2]}Z`)
  return Number.isNaN(at) ? undefined : at
}
