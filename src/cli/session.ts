/** The session that a command runs in: terminal, client and common options; errors become exit codes. */

import type { ReadStream, WriteStream } from 'node:tty'
import type { Command } from 'commander'
import pc from 'picocolors'
import { type Client, createClient } from '../client/client.js'
import { type Failure, failureOf } from '../client/failure.js'
import type { Transport } from '../client/transport.js'
import { exitCodeOf, formatFailure, formatFault } from './failure.js'
import { connect, type Host, profileOfEnv } from './fast/host.js'
import { printableJson } from './text.js'

/** The process of every command but `env` and `exec`; `bin/auth.ts` makes it. */
export interface Terminal extends Host {
  readonly stdin: ReadStream
  readonly stdout: WriteStream
  /** For prompts and progress; people answer on stdin. */
  readonly stderr: WriteStream
  /** Epoch ms. */
  readonly now: () => number
  /** The Node that runs this process. */
  readonly execPath: string
  /** Our package: contains `dist`, `systemd` and `launchd`. */
  readonly packageDir: string
}

/** One run of one command. */
export interface Session {
  readonly terminal: Terminal
  readonly transport: Transport
  readonly client: Client
  readonly isJson: boolean
  /** `--profile`, else `PREFECT_PROFILE`; `undefined` means the active profile. */
  readonly profile: string | undefined
  /** Where `profile` was named. */
  readonly profileBecause: string | undefined
  /** Aborted on Ctrl-C, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal
  /** Whether a person can be asked: both stdin and stderr are terminals. */
  readonly isInteractive: boolean
  readonly colors: Colors
  /** Of the terminal, in characters; `undefined` if stdout is none, so that a script gets whole lines. */
  readonly width: number | undefined
  /** Prints the result to stdout: with `--json` the wire document, else the text. */
  answer(wire: unknown, text: () => string): void
  /** Prints lines to stdout. */
  print(text: string): void
  /** Prints lines to stderr. */
  say(text: string): void
}

/** Colours for stdout; none if it is not a terminal, is a dumb one, or `NO_COLOR` is set. */
export interface Colors {
  bold(text: string): string
  dim(text: string): string
  red(text: string): string
  green(text: string): string
  yellow(text: string): string
}

/** The name of the profile that was asked for, else of the active one. */
export async function profileName({ profile, client }: Session): Promise<string> {
  return profile ?? (await client.profiles()).active
}

export interface CommonOptions {
  readonly json?: boolean
  readonly profile?: string
}

/** Runs `work` as the command `name` and keeps its exit code for the program. */
export type Start = (
  name: string,
  options: CommonOptions,
  work: (session: Session) => Promise<number | undefined> | Promise<void>,
) => Promise<void>

/** Adds `--profile` and `--json`. */
export function common(command: Command): Command {
  return withJson(
    command.option('-p, --profile <name>', 'the profile (default: PREFECT_PROFILE, else the active one)'),
  )
}

/** Adds `--json` alone: for commands without a profile. */
export function withJson(command: Command): Command {
  return command.option('--json', "print the daemon's response as JSON")
}

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export interface ListOptions extends CommonOptions {
  readonly names?: boolean
}

/** Adds `--names`, which completions use. */
export function withNames(command: Command): Command {
  return command.option('--names', 'print only the names, one per line')
}

/** Runs `work` and resolves with the exit code: what `work` returns, 0 if that is nothing, 130 if it was interrupted. */
export async function runSession(
  terminal: Terminal,
  command: string,
  options: CommonOptions,
  work: (session: Session) => Promise<number | undefined> | Promise<void>,
): Promise<number> {
  const ending = new AbortController()
  const end = () => {
    // A second signal kills us.
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
  const transport = connect(terminal, command)
  const fromEnv = profileOfEnv(terminal)
  const isJson = options.json === true
  const print = (text: string) => terminal.writeOut(`${text}\n`)
  return {
    terminal,
    transport,
    client: createClient(transport),
    isJson,
    profile: options.profile ?? fromEnv,
    profileBecause:
      options.profile !== undefined ? 'named by --profile' : fromEnv && 'named by PREFECT_PROFILE',
    signal,
    isInteractive: terminal.stdin.isTTY === true && terminal.stderr.isTTY === true,
    colors: pc.createColors(terminal.stdout.isTTY === true && !terminal.env.NO_COLOR && !isDumb(terminal)),
    width: terminal.stdout.isTTY === true ? terminal.stdout.columns || undefined : undefined,
    answer: (wire, text) => print(isJson ? printableJson(wire) : text()),
    print,
    say: (text) => terminal.writeErr(`${text}\n`),
  }
}

/** Whether the terminal shows escape sequences as text, as the shell of an editor does. */
export function isDumb({ env }: Pick<Terminal, 'env'>): boolean {
  return env.TERM === 'dumb'
}

/** Prints the failure and returns its exit code; with `--json` it is on stdout too, where a script reads. */
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

/** Resolves after `ms`, or when `signal` is aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end, { once: true })
    function end() {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
  })
}
