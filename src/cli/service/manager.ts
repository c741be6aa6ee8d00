/** Runs one tool of the system (systemctl, launchctl, loginctl) and says what came of it. */

import { runProgram } from '../../os/run-program.js'
import type { Clock } from '../../std/clock.js'
import { findCommand } from '../fast/child.js'

export interface ToolOutcome {
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
