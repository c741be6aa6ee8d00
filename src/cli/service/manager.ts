/** What a service manager can do, and how its tools (systemctl, launchctl, loginctl) are run. */

import type { Surroundings } from '../../config/paths.js'
import { runProgram } from '../../os/run-program.js'
import { type Clock, SECOND_MS } from '../../std/clock.js'
import { firstLine } from '../../std/text.js'
import { findCommand } from '../fast/child.js'
import type { ServiceFile } from './files.js'
import type { ServiceFacts, Template } from './plan.js'

interface ToolOutcome {
  readonly isDone: boolean
  readonly stdout: string
  /** The first line of its error output if it failed. */
  readonly complaint: string
}

/** Never rejects: a missing tool has failed. */
export type RunTool = (name: string, ...args: readonly string[]) => Promise<ToolOutcome>

const DEADLINE_MS = 90 * SECOND_MS

export function createRunTool(env: Readonly<Record<string, string | undefined>>, clock: Clock): RunTool {
  const given = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined)
  // We parse their output.
  const toolEnv = { ...Object.fromEntries(given), LC_ALL: 'C', SYSTEMD_PAGER: '', SYSTEMD_COLORS: '0' }
  return async (name, ...args) => {
    const found = findCommand(name, env.PATH)
    if (found.kind !== 'found') return failed(`${name} is not installed`)
    const result = await runProgram({ file: found.file, args, env: toolEnv, deadlineMs: DEADLINE_MS }, clock)
    switch (result.kind) {
      case 'exited':
        return {
          isDone: result.code === 0,
          stdout: result.stdout.trim(),
          complaint:
            result.code === 0 ? '' : firstLine(result.stderr || `${name} exited with code ${result.code}`),
        }
      case 'crashed':
        return failed(`${name} was killed by ${result.signal}`)
      case 'timed_out':
        return failed(`${name} did not exit within ${DEADLINE_MS / SECOND_MS} s`)
      case 'not_started':
        return failed(result.reason)
    }
  }
}

function failed(complaint: string): ToolOutcome {
  return { isDone: false, stdout: '', complaint }
}

export interface ServiceState {
  /**
   * `waiting`: the socket is open, and the next request starts the daemon. `unreachable`: this session has no manager, so
   * nothing is known.
   */
  readonly state: 'not_installed' | 'running' | 'waiting' | 'stopped' | 'failed' | 'unreachable'
  readonly pid?: number
  readonly startsAtLogin: boolean
  /** Whether a timer starts the daemon once an hour; absent if the manager has none. */
  readonly isWoken?: boolean
  /** Whether the daemon survives the last logout; absent if unknown or meaningless. */
  readonly lingers?: boolean
  /** Whether the system has opened loopback TCP; absent if TCP is off. */
  readonly tcp?: 'active' | 'failed'
  /** Why the state is `failed` or `unreachable`. */
  readonly problem?: string
}

export interface ServiceManager {
  /** `systemd user service`, `launchd agent` */
  readonly name: string
  /** A command that follows the log, besides `prefect-auth logs -f`. */
  readonly log: string | undefined
  plan(facts: ServiceFacts): readonly ServiceFile[]
  state(): Promise<ServiceState>
  /**
   * Writes the files, enables start at login and starts the daemon that is on the disk now. `isStale`: the running one has
   * another version. Resolves with the files that were written, without waiting for the daemon.
   */
  install(facts: ServiceFacts, isStale: boolean): Promise<readonly ServiceFile[]>
  /** Resolves with the files that were removed. */
  uninstall(): Promise<readonly string[]>
}

/** What a manager is made of. */
export interface ManagerParts {
  readonly run: RunTool
  readonly template: Template
  readonly around: Surroundings
}
