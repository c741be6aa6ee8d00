/** The process that `env` and `exec` run in, what its environment says, and its connection to the daemon. */
import { createTransport, type Transport } from '../../client/transport.js'
import { lockDirectory, type Surroundings, socketCandidates } from '../../config/paths.js'
import { defined } from '../../std/defined.js'
import { PROXY_ONLY_NAMES } from '../../wire/env-names.js'

/** What the command line needs of its process; `bin/auth.ts` makes it. */
export interface Host extends Surroundings {
  readonly version: string
  readonly pid: number
  /** The process that started this one. */
  readonly parentPid: number
  /** Writes all of `text` before it returns, even if a pipe is full. */
  writeOut(text: string): void
  writeErr(text: string): void
  /** Calls `listener` in place of the signal's default action; the returned function undoes it. */
  onSignal(signal: NodeJS.Signals, listener: () => void): () => void
  /** Whether one of the standard streams is a terminal. */
  readonly hasTerminal: boolean
  /** Replaces this process (Node >= 22.15, not on Windows). Returns only by killing us: plan before calling. */
  readonly execve?: (file: string, args: readonly string[], env: Readonly<Record<string, string>>) => void
}

/** Requests to the daemon, sent as `command`. */
export function connect(host: Host, command: string): Transport {
  return createTransport({
    candidates: socketCandidates(host),
    lockDir: lockDirectory(host),
    userAgent: `prefect-auth/${host.version} ${command}`,
    ...defined({ uid: host.uid }),
  })
}

/** The profile that the environment names; an empty variable names none. */
export function profileOfEnv({ env }: Host): string | undefined {
  return env.PREFECT_PROFILE || undefined
}

/** Variables that `env --proxy` set in the caller's shell and nobody else: its token shows that it did. */
export function leftBehind(
  env: Readonly<Record<string, string | undefined>>,
): readonly (typeof PROXY_ONLY_NAMES)[number][] {
  if (!env.PREFECT_API_KEY?.startsWith('pab_')) return []
  return PROXY_ONLY_NAMES.filter((name) => env[name] !== undefined)
}
