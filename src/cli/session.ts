/** Makes a session of a terminal and the common options, and runs a command in it: errors become exit codes. */

import type { ReadStream, WriteStream } from 'node:tty'
import type { Command } from 'commander'
import pc from 'picocolors'
import { type Client, createClient } from '../client/client.js'
import { type Failure, failureOf } from '../client/failure.js'
import { createTransport, type Transport } from '../client/transport.js'
import { socketCandidates } from '../config/paths.js'
import { defined } from '../std/defined.js'
import { exitCodeOf, formatFailure, formatFault } from './failure.js'
import type { Host } from './fast/host.js'
import { printableJson } from './text.js'

/** The process, as `bin/auth.ts` makes it for all commands but `env` and `exec`. */
export interface Terminal extends Host {
  readonly stdin: ReadStream
  readonly stdout: WriteStream
  /** Prompts and progress; what is asked here is answered on stdin. */
  readonly stderr: WriteStream
  /** Epoch ms. */
  readonly now: () => number
  /** The Node that runs us. */
  readonly execPath: string
  /** The package around us: `dist`, `systemd`, `launchd`. */
  readonly packageDir: string
}

/** One run of one command. */
export interface Session {
  readonly terminal: Terminal
  readonly transport: Transport
  readonly client: Client
  readonly isJson: boolean
  /** The profile asked for: `--profile`, else `PREFECT_PROFILE`; absent: the active one. */
  readonly profile: string | undefined
  /** Why that one, where it was asked for. */
  readonly profileBecause: string | undefined
  /** Aborted by Ctrl-C, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal
  /** A person can be asked: both stdin and stderr are terminals. */
  readonly isInteractive: boolean
  readonly colors: Colors
  /** The result, to stdout: the wire answer with `--json`, else the text. */
  answer(wire: unknown, text: () => string): void
  /** Lines to stdout. */
  print(text: string): void
  /** Lines to stderr. */
  say(text: string): void
}

/** Colours for stdout; none where it is not a terminal or `NO_COLOR` is set. */
export interface Colors {
  bold(text: string): string
  dim(text: string): string
  red(text: string): string
  green(text: string): string
  yellow(text: string): string
}

/** The name of the profile asked for, or of the active one. */
export async function profileName({ profile, client }: Session): Promise<string> {
  return profile ?? (await client.profiles()).active
}

export interface CommonOptions {
  readonly json?: boolean
  readonly profile?: string
}

/** Runs `work` as the command `name`; the exit code goes where the program keeps it. */
export type Start = (
  name: string,
  options: CommonOptions,
  work: (session: Session) => Promise<number | undefined> | Promise<void>,
) => Promise<void>

/** `--profile` and `--json`, which every command has. */
export function common(command: Command): Command {
  return withJson(
    command.option('-p, --profile <name>', 'the profile; else PREFECT_PROFILE, else the active one'),
  )
}

/** For commands that are about no profile. */
export function withJson(command: Command): Command {
  return command.option('--json', "print the daemon's answer as JSON")
}

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
    ...defined({ uid: terminal.uid }),
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
