/** A failure as a person and a script see it: two lines on stderr, and an exit code. */
import type { Failure } from '../client/failure.js'
import { printable, printableLines } from './text.js'

/** Contract section 5. */
export function exitCodeOf(failure: Failure): number {
  if (failure.code === 'prefect_unreachable') return 5
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

/** `prefect-auth: what failed (code)`, and what to do now on a line of its own, to be copied. */
export function formatFailure(failure: Failure): string {
  const [first = '', ...details] = printableLines(failure.detail).split('\n')
  const code = failure.kind === 'usage' || failure.kind === 'cancelled' ? '' : ` (${printable(failure.code)})`
  const lines = [`prefect-auth: ${first}${code}`, ...details.map((line) => `  ${line.trim()}`)]
  if (failure.hint !== undefined) lines.push(`try: ${printable(failure.hint)}`)
  return `${lines.join('\n')}\n`
}

/** A fault of this program, not of the user or the daemon. */
export function formatFault(error: unknown): string {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return `prefect-auth: this should not have happened (internal)\n${printableLines(text)}\n`
}

const KEY = /(?:^|[=:,\s"'])(?:pn[a-z]_[A-Za-z0-9]{8,}|pab_[A-Za-z0-9_-]{20,})/

export const KEY_ARGUMENT = {
  code: 'usage',
  kind: 'usage',
  detail:
    'an argument looks like a key or a token: other processes can read arguments, and the shell keeps them.\n' +
    'Nothing was done with it; delete the line from the history of your shell',
  hint: 'prefect-auth login --key-stdin < FILE      (or: prefect-auth login, and paste it there)',
} as const

/** Whether a word holds a Prefect key, or a token of ours. */
export function looksLikeKey(word: string): boolean {
  return KEY.test(word)
}
