/** Runs one tool of the system (systemctl, launchctl, loginctl) and says what came of it. */

import type { Surroundings } from '../../config/paths.js'
import { runProgram } from '../../os/run-program.js'
import type { Clock } from '../../std/clock.js'
import { findCommand } from '../fast/child.js'
import type { ServiceFile } from './files.js'
import type { ServiceFacts, Template } from './plan.js'

interface ToolOutcome {
  readonly isDone: boolean
  readonly stdout: string
  /** What it said where it failed: one line. */
  readonly complaint: string
}

/** Never rejects: a tool that is not there has failed. */
export type RunTool = (name: string, ...args: readonly string[]) => Promise<ToolOutcome>

const DEADLINE_MS = 90_000

export function createRunTool(env: Readonly<Record<string, string | undefined>>, clock: Clock): RunTool {
  const given = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined)
  // Their answers are read by us.
  const toolEnv = { ...Object.fromEntries(given), LC_ALL: 'C', SYSTEMD_PAGER: '', SYSTEMD_COLORS: '0' }
  return async (name, ...args) => {
    const found = await findCommand(name, env.PATH)
    if (found.kind !== 'found') return failed(`${name} is not installed`)
    const result = await runProgram({ file: found.file, args, env: toolEnv, deadlineMs: DEADLINE_MS }, clock)
    switch (result.kind) {
      case 'exited':
        return {
          isDone: result.code === 0,
          stdout: result.stdout.trim(),
          complaint: result.code === 0 ? '' : firstLine(result.stderr || `${name} ended with ${result.code}`),
        }
      case 'crashed':
        return failed(`${name} died of ${result.signal}`)
      case 'timed_out':
        return failed(`${name} did not end`)
      case 'not_started':
        return failed(result.reason)
    }
  }
}

function failed(complaint: string): ToolOutcome {
  return { isDone: false, stdout: '', complaint }
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0] ?? ''
}

export interface ServiceState {
  /**
   * `waiting`: the socket is open, the next request starts the daemon. `unreachable`: this session has no manager, so that
   * nothing is known.
   */
  readonly state: 'not_installed' | 'running' | 'waiting' | 'stopped' | 'failed' | 'unreachable'
  readonly pid?: number
  readonly startsAtLogin: boolean
  /** Whether the daemon is started once an hour, should it be away; absent where there is no such thing. */
  readonly isWoken?: boolean
  /** Absent where it can't be asked, or means nothing. */
  readonly lingers?: boolean
  /** Whether loopback TCP is opened by the system; absent where it is not wanted. */
  readonly tcp?: 'active' | 'failed'
  /** Why it is `failed` or `unreachable`. */
  readonly problem?: string
}

export interface ServiceManager {
  /** `systemd user service`, `launchd agent` */
  readonly name: string
  /** How to follow the log, beside `prefect-auth logs -f`. */
  readonly log: string | undefined
  plan(facts: ServiceFacts): readonly ServiceFile[]
  state(): Promise<ServiceState>
  /**
   * Makes it so: files, start at login, running with what is on the disk now. `isStale`: what runs is of another version.
   * Answers the files that were written. Does not wait for the daemon.
   */
  install(facts: ServiceFacts, isStale: boolean): Promise<readonly ServiceFile[]>
  /** Answers the files that were removed. */
  uninstall(): Promise<readonly string[]>
}

export interface ManagerDeps {
  readonly run: RunTool
  readonly template: Template
  readonly terminal: Surroundings
}
