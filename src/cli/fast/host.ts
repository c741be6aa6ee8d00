/** The process that `env` and `exec` run in, what its environment says, and its connection to the daemon. */
import { failureOf } from '../../client/failure.js'
import { createTransport, type SocketRequest, type Transport } from '../../client/transport.js'
import { lockDirectory, type Surroundings, socketCandidates } from '../../config/paths.js'
import { defined } from '../../std/defined.js'
import { CALLERS_FILE_HEADER, type CallersFile, formatCallersFile } from '../../wire/callers-file.js'
import { PROXY_ONLY_NAMES } from '../../wire/env-names.js'
import { callersFile, filesAround, type Source } from './around.js'

/** What the command line needs of its process; `bin/auth.ts` makes it. */
export interface Host extends Surroundings {
  readonly version: string
  /** The working directory; absent if it has been removed. */
  readonly folder?: string
  readonly pid: number
  /** The process that started this one. */
  readonly parentPid: number
  /** Writes all of `text` before it returns, even if a pipe is full. */
  writeOut(text: string): void
  writeErr(text: string): void
  /** Calls `listener` in place of the signal's default action; the returned function undoes it. */
  onSignal(signal: NodeJS.Signals, listener: () => void): () => void
  /** Starts the daemon if the user has allowed it, and resolves with whether it answers: see `on-demand.ts`. */
  readonly startDaemon?: (transport: Transport) => Promise<boolean>
  /** Replaces this process (Node >= 22.15, not on Windows). Returns only by killing us: plan before calling. */
  readonly execve?: (file: string, args: readonly string[], env: Readonly<Record<string, string>>) => void
}

/** The commands that start a daemon if none runs, where the user has allowed it. */
const STARTING: readonly string[] = ['login', 'env', 'exec', 'agent', 'get', 'setup', 'uninstall']

/**
 * Requests to the daemon, sent as `command`, which say whose profile file the caller means. Some commands start the daemon.
 */
export function connect(host: Host, command: string, around: Around = lookAround(host)): Transport {
  const transport = createTransport({
    candidates: socketCandidates(host),
    lockDir: lockDirectory(host),
    userAgent: `prefect-auth/${host.version} ${command}`,
    ...defined({ uid: host.uid }),
  })
  const said = { [CALLERS_FILE_HEADER]: formatCallersFile(around.file) }
  const saying = (request: SocketRequest) => ({ ...request, headers: { ...said, ...request.headers } })
  const startFor = async (error: unknown) => {
    if (!STARTING.includes(command) || failureOf(error)?.kind !== 'not_running') throw error
    if ((await host.startDaemon?.(transport)) !== true) throw error
  }
  return {
    async send(request) {
      try {
        return await transport.send(saying(request))
      } catch (error) {
        await startFor(error)
        return transport.send(saying(request))
      }
    },
    stream: (request) => transport.stream(saying(request)),
    socket: transport.socket,
  }
}

/** What Prefect finds where this process runs. */
export interface Around {
  /** The files of the directory that name settings. */
  readonly files: readonly Source[]
  /** The profile file. */
  readonly file: CallersFile
}

export function lookAround({ env, home, folder }: Pick<Host, 'env' | 'home' | 'folder'>): Around {
  const files = filesAround(folder, env)
  return { files, file: callersFile(env, home, files, folder) }
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
