/** Runs one short program with a deadline: stdin in, stdout out, SIGKILL when the time is over. No shell. */
import { spawn } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import type { Clock } from '../std/clock.js'

export interface ProgramCall {
  /** Absolute: nothing is looked up in PATH. */
  readonly file: string
  readonly args: readonly string[]
  /** The whole environment of the program. */
  readonly env: Readonly<Record<string, string>>
  /** Written to stdin. Secrets go here, never into `args` or `env`. */
  readonly input?: string
  /** Keeps stdin open while the program runs: it then sees our death as the end of stdin. */
  readonly isStdinHeld?: boolean
  readonly deadlineMs: number
}

export type ProgramResult =
  | { readonly kind: 'exited'; readonly code: number; readonly stdout: string; readonly stderr: string }
  /** Died of a signal that we did not send. */
  | { readonly kind: 'crashed'; readonly signal: string; readonly stderr: string }
  | { readonly kind: 'timed_out' }
  /** Never ran: not there, not executable, or no more processes. */
  | { readonly kind: 'not_started'; readonly reason: string }

/** More than any program that we call has to say. */
const MAX_OUTPUT_CHARACTERS = 1_000_000

/** Never rejects: what can go wrong is the answer. */
export function runProgram(call: ProgramCall, clock: Clock): Promise<ProgramResult> {
  return new Promise((resolve) => {
    const child = spawn(call.file, call.args, { env: { ...call.env }, stdio: 'pipe', windowsHide: true })
    let stdout = ''
    let stderr = ''
    const timer = clock.after(call.deadlineMs, () => {
      child.kill('SIGKILL')
      // Whatever the program started may still hold the pipes: we do not wait for that.
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy()
      settle({ kind: 'timed_out' })
    })
    function settle(result: ProgramResult): void {
      timer.cancel()
      resolve(result)
    }
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout = (stdout + text).slice(0, MAX_OUTPUT_CHARACTERS)
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(0, MAX_OUTPUT_CHARACTERS)
    })
    // A program that exits without reading is no error of ours: its exit code says what happened.
    child.stdin.on('error', () => undefined)
    child.on('error', (error) => settle({ kind: 'not_started', reason: error.message }))
    child.on('close', (code, signal) => {
      if (signal !== null) settle({ kind: 'crashed', signal, stderr })
      else settle({ kind: 'exited', code: code ?? -1, stdout, stderr })
    })
    child.stdin.write(call.input ?? '')
    if (call.isStdinHeld !== true) child.stdin.end()
  })
}

/** The first of these absolute paths that we may run. */
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
