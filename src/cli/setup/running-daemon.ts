/** The daemon that runs now: asked without starting one, and stopped. */
import { type Client, createClient } from '../../client/client.js'
import { failureOf, failWith } from '../../client/failure.js'
import { isLockHeld } from '../../client/held-lock.js'
import { lockDirectory } from '../../config/paths.js'
import { SECOND_MS } from '../../std/clock.js'
import { connect } from '../fast/host.js'
import { pause, type Terminal } from '../session.js'

const STOPPED_WITHIN_MS = 60 * SECOND_MS
const LOOK_EVERY_MS = 50

/** Requests that never start a daemon. */
export function lookingClient(terminal: Terminal): Client {
  return createClient(connect(terminal, 'setup (looks)'))
}

/** `undefined` if no daemon answers. */
export async function ifRunning<T>(ask: Promise<T>): Promise<T | undefined> {
  try {
    return await ask
  } catch (error) {
    if (failureOf(error)?.kind === 'not_running') return undefined
    throw error
  }
}

/** Stops the daemon in order and waits until its state is free. Does nothing if none runs. Fails with `daemon_timeout`. */
export async function stopDaemon(terminal: Terminal, signal: AbortSignal): Promise<void> {
  const asked = await ifRunning(lookingClient(terminal).shutDown())
  if (asked === undefined) return
  const deadline = terminal.now() + STOPPED_WITHIN_MS
  while (await isLockHeld(lockDirectory(terminal))) {
    if (terminal.now() > deadline || signal.aborted) {
      failWith({
        code: 'daemon_timeout',
        kind: 'no_answer',
        detail: `the daemon did not stop within ${STOPPED_WITHIN_MS / SECOND_MS} s`,
        hint: 'prefect-auth logs',
      })
    }
    await pause(LOOK_EVERY_MS, signal)
  }
}
