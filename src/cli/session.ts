/** Makes a session of a terminal and the common options, and runs a command in it: errors become exit codes. */
import pc from 'picocolors'
import { createClient } from '../client/client.js'
import { type Failure, failureOf } from '../client/failure.js'
import { createTransport } from '../client/transport.js'
import { socketCandidates } from '../config/paths.js'
import type { Session, Terminal } from './context.js'
import { exitCodeOf, formatFailure, formatFault } from './failure.js'
import { printableJson } from './printable.js'
import type { CommonOptions } from './start.js'

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Runs `work`; resolves with the exit code. What `work` answers is the code, nothing is 0. */
export async function runSession(
  terminal: Terminal,
  command: string,
  options: CommonOptions,
  work: (session: Session) => Promise<number | undefined> | Promise<void>,
): Promise<number> {
  const ending = new AbortController()
  const end = () => {
    // The next one ends us by force.
    release()
    ending.abort()
  }
  const undo = ENDING.map((signal) => terminal.onSignal(signal, end))
  const release = () => {
    for (const stop of undo) stop()
  }
  try {
    const code = await work(createSession(terminal, command, options, ending.signal))
    return ending.signal.aborted ? 130 : (code ?? 0)
  } catch (error) {
    return ending.signal.aborted ? 130 : report(terminal, error, options.json === true)
  } finally {
    release()
  }
}

function createSession(
  terminal: Terminal,
  command: string,
  options: CommonOptions,
  signal: AbortSignal,
): Session {
  const transport = createTransport({
    candidates: socketCandidates(terminal),
    userAgent: `prefect-auth/${terminal.version} ${command}`,
    ...(terminal.uid === undefined ? {} : { uid: terminal.uid }),
  })
  const fromCaller = terminal.env.PREFECT_PROFILE || undefined
  const isJson = options.json === true
  const print = (text: string) => terminal.writeOut(`${text}\n`)
  return {
    terminal,
    transport,
    client: createClient(transport),
    isJson,
    profile: options.profile ?? fromCaller,
    profileBecause:
      options.profile !== undefined ? 'named by --profile' : fromCaller && 'named by PREFECT_PROFILE',
    signal,
    isInteractive: terminal.stdin.isTTY === true && terminal.stderr.isTTY === true,
    colors: pc.createColors(terminal.stdout.isTTY === true && !terminal.env.NO_COLOR),
    answer: (wire, text) => print(isJson ? printableJson(wire) : text()),
    print,
    say: (text) => terminal.writeErr(`${text}\n`),
  }
}

/** With `--json` a script finds the failure where it looks for the answer. */
function report(terminal: Terminal, error: unknown, isJson: boolean): number {
  const failure: Failure | undefined = failureOf(error)
  if (failure === undefined) {
    terminal.writeErr(formatFault(error))
    return 1
  }
  if (failure.kind === 'cancelled') return 130
  if (isJson) terminal.writeOut(`${printableJson(failure)}\n`)
  terminal.writeErr(formatFailure(failure))
  return exitCodeOf(failure)
}
