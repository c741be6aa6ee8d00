/** Short programs with a deadline: stdin in, stdout out, SIGKILL when time is up. No shell. */
import { type ChildProcess, spawn } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import type { Clock } from '../std/clock.js'

export interface ProgramCall {
  /** Absolute path: nothing is looked up in PATH. */
  readonly file: string
  readonly args: readonly string[]
  /** The whole environment of the program. */
  readonly env: Readonly<Record<string, string>>
  /** Written to stdin. Secrets go here, never into `args` or `env`. */
  readonly input?: string
  /** Keeps stdin open while the program runs: the end of stdin then means that we died. */
  readonly isStdinHeld?: boolean
  readonly deadlineMs: number
}

export type ProgramResult =
  | { readonly kind: 'exited'; readonly code: number; readonly stdout: string; readonly stderr: string }
  /** Killed by a signal that we did not send. */
  | { readonly kind: 'crashed'; readonly signal: string; readonly stderr: string }
  | { readonly kind: 'timed_out' }
  /** Never ran: missing, not executable, or no processes left. */
  | { readonly kind: 'not_started'; readonly reason: string }

/** More than any program that we call prints. */
const MAX_OUTPUT_CHARACTERS = 1_000_000

/** Never rejects: the result says what went wrong. */
export function runProgram(call: ProgramCall, clock: Clock): Promise<ProgramResult> {
  return new Promise((resolve) => {
    const child = start(call)
    if ('reason' in child) return resolve({ kind: 'not_started', reason: child.reason })
    // First of all: an error that nobody hears ends our process.
    child.on('error', (error) => settle({ kind: 'not_started', reason: error.message }))
    let stdout = ''
    let stderr = ''
    const timer = clock.after(call.deadlineMs, () => {
      child.kill('SIGKILL')
      // Children of the program may still hold the pipes; do not wait for them.
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy()
      settle({ kind: 'timed_out' })
    })
    function settle(result: ProgramResult): void {
      timer.cancel()
      resolve(result)
    }
    // Where there was no descriptor for them, there are no pipes: 'error' follows.
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout = (stdout + text).slice(0, MAX_OUTPUT_CHARACTERS)
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(0, MAX_OUTPUT_CHARACTERS)
    })
    // A program that exits without reading is not an error here: its exit code says what happened.
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.on('error', () => undefined)
    child.on('close', (code, signal) => {
      if (signal !== null) settle({ kind: 'crashed', signal, stderr })
      else settle({ kind: 'exited', code: code ?? -1, stdout, stderr })
    })
    child.stdin?.write(call.input ?? '')
    if (call.isStdinHeld !== true) child.stdin?.end()
  })
}

/** Some failures are thrown (no memory, too long a list), others come as an event. */
function start(call: ProgramCall): ChildProcess | { readonly reason: string } {
  try {
    return spawn(call.file, call.args, { env: { ...call.env }, stdio: 'pipe', windowsHide: true })
  } catch (error) {
    return { reason: error instanceof Error ? error.message : 'unknown error' }
  }
}

/** The first of these absolute paths that we may execute. */
export async function findExecutable(programs: readonly string[]): Promise<string | undefined> {
  for (const program of programs) {
    const isThere = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (isThere) return program
  }
  return undefined
}
