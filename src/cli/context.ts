/** What a command has: the process around it, the daemon, what was asked for, and the two ways to talk. */
import type { ReadStream, WriteStream } from 'node:tty'
import type { Client } from '../client/client.js'
import type { Transport } from '../client/transport.js'
import type { Host } from './fast/host.js'

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
