/** The full command line: arguments in, exit code out. `env` and `exec` come here only to be explained. */
import { CommanderError } from 'commander'
import type { Terminal } from './context.js'
import { exitCodeOf, formatFailure, formatFault } from './failure.js'
import { KEY_ARGUMENT, looksLikeKey } from './key-argument.js'
import { createProgram } from './program.js'
import { runSession } from './session.js'

/** Runs one command line. Never rejects. */
export async function runCli(argv: readonly string[], terminal: Terminal): Promise<number> {
  if (argv.some(looksLikeKey)) {
    terminal.writeErr(formatFailure(KEY_ARGUMENT))
    return exitCodeOf(KEY_ARGUMENT)
  }
  let code = 0
  const program = createProgram(async (name, options, work) => {
    code = await runSession(terminal, name, options, work)
  }, terminal)
  try {
    await program.parseAsync(withDefault(argv), { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    terminal.writeErr(formatFault(error))
    return 1
  }
}

/** Without a command: `status`. An unknown word stays what it is, so that commander can say so. */
function withDefault(argv: readonly string[]): string[] {
  const [first] = argv
  const isBare = first === undefined || (first.startsWith('-') && !ABOUT_ALL.includes(first))
  return isBare ? ['status', ...argv] : [...argv]
}

const ABOUT_ALL: readonly string[] = ['-h', '--help', '-V', '--version']
