/** Failures as people and scripts see them: two lines on stderr and an exit code. */
import { type Failure, failed, failureOf } from '../client/failure.js'
import { defined } from '../std/defined.js'
import { loginCommand } from '../std/text.js'
import { printable, printableLines } from './text.js'

/** The exit code that the contract gives to a failure. */
export function exitCodeOf(failure: Failure): number {
  if (failure.code === 'prefect_unreachable') return 5
  // The pair that the caller means cannot be had here, as without a login.
  if (failure.code === 'profiles_file_mismatch') return 3
  // The daemon knows the names, and the nearest one.
  if (failure.code === 'policy_unknown' || failure.code === 'operation_unknown') return 2
  switch (failure.kind) {
    case 'usage':
      return 2
    case 'login':
      return 3
    case 'not_running':
      return 4
    case 'cancelled':
      return 130
    default:
      return 1
  }
}

/** Whether the daemon has no pair for this profile at all, with which `--allow-none` does not mind. */
export function isWithoutPair(error: unknown): boolean {
  const code = failureOf(error)?.code
  return code === 'login_required' || code === 'profiles_file_invalid' || code === 'profiles_file_unreadable'
}

/** Prefect's own profiles, which a login leaves alone. */
const BUNDLED: readonly string[] = ['ephemeral', 'local', 'test', 'default']

/** The command that gives a profile without a pair one: of a bundled profile the login makes another one. */
export function loginHint(profile: string): string {
  return BUNDLED.includes(profile) ? 'prefect-auth login' : loginCommand(profile)
}

/** `prefect-auth: what failed (code)`, then the hint on its own line, ready to be copied. */
export function formatFailure(failure: Failure): string {
  const [first = '', ...details] = printableLines(failure.detail).split('\n')
  const code = failure.kind === 'usage' || failure.kind === 'cancelled' ? '' : ` (${printable(failure.code)})`
  const lines = [`prefect-auth: ${first}${code}`, ...details.map((line) => `  ${line.trim()}`)]
  if (failure.hint !== undefined) lines.push(`try: ${printable(failure.hint)}`)
  return `${lines.join('\n')}\n`
}

/** An error that is a bug of this program, not the fault of the user or the daemon. */
export function formatFault(error: unknown): string {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return `prefect-auth: this is a bug (internal)\n${printableLines(text)}\n`
}

/** The error for a command line that cannot be carried out as given. `hint` is a command. */
export function usageError(detail: string, hint?: string): Error {
  return failed({ code: 'usage', kind: 'usage', detail, ...defined({ hint }) })
}

/** The error for Ctrl-C or Escape at a prompt. */
export function cancelled(): Error {
  return failed({ code: 'cancelled', kind: 'cancelled', detail: 'cancelled' })
}
