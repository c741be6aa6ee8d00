/**
 * Starts the daemon for a command that found none: through the service if it is installed, else where `setup` has allowed it.
 * Without either nobody starts anything.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { open, readFile, unlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { failureOf, failWith } from '../client/failure.js'
import { isLockHeld } from '../client/held-lock.js'
import type { Transport } from '../client/transport.js'
import { lockDirectory, resolvePaths, socketCandidates } from '../config/paths.js'
import { createProcessIdentifier } from '../os/proc.js'
import { isSocketAlive, listenOnPath } from '../os/sockets.js'
import { SECOND_MS, systemClock } from '../std/clock.js'
import type { Host } from './fast/host.js'
import { createRunTool } from './service/manager.js'
import { LABEL, resolveServicePlaces, SERVICE, SOCKET } from './service/plan.js'
import { readRecord, type SetupRecord } from './setup/record.js'
import { printable } from './text.js'

const UP_WITHIN_MS = 60 * SECOND_MS
/** A daemon that has the state, but no socket here: it is just leaving, or it is another one's for good. */
const LEAVING_MS = 10 * SECOND_MS
const LOOK_EVERY_MS = 25

/** Resolves with whether a daemon answers now. Fails with `daemon_not_started`. */
export async function startOnDemand(
  host: Host,
  daemon: Pick<DaemonProgram, 'node' | 'program'>,
  transport: Transport,
): Promise<boolean> {
  const isUp = () => answers(transport)
  if (await startService(host)) {
    host.writeErr('prefect-auth: the service was stopped; started it\n')
    return waitFor(isUp, UP_WITHIN_MS)
  }
  const { onDemand } = await readRecord(host)
  if (onDemand === undefined) return false
  const env = withoutGone(onDemand.env)
  // With other paths than those of now, it would be another daemon's.
  const { socket, stateDir } = resolvePaths({ ...host, env })
  const isHere = stateDir === resolvePaths(host).stateDir && socketCandidates(host).includes(socket)
  if (!isHere) return false
  const program: DaemonProgram = { ...daemon, env, log: join(stateDir, 'start.log') }
  return startOnce(host, { stateDir, program, isUp })
}

/** The system removes it with the last logout. */
function withoutGone(env: DaemonProgram['env']): DaemonProgram['env'] {
  const { XDG_RUNTIME_DIR: runtime, ...rest } = env
  return runtime !== undefined && existsSync(runtime) ? env : rest
}

async function answers(transport: Transport): Promise<boolean> {
  try {
    await transport.send({ method: 'GET', path: '/livez' })
    return true
  } catch (error) {
    if (failureOf(error) === undefined) throw error
    return false
  }
}

async function waitFor(isSo: () => Promise<boolean>, ms: number): Promise<boolean> {
  const clock = systemClock()
  const deadline = clock.now() + ms
  while (!(await isSo())) {
    if (clock.now() > deadline) return false
    await sleep(LOOK_EVERY_MS)
  }
  return true
}

/** Resolves with false if no service is installed, or its manager does not start it. */
async function startService(host: Host): Promise<boolean> {
  const { env, uid = 0, platform } = host
  const { unitDir } = resolveServicePlaces(host)
  const run = (more: Readonly<Record<string, string>>) => createRunTool({ ...env, ...more }, systemClock())
  if (platform === 'darwin') {
    if (!existsSync(join(unitDir, `${LABEL}.plist`))) return false
    return (await run({})('launchctl', 'kickstart', `gui/${uid}/${LABEL}`)).isDone
  }
  if (!existsSync(join(unitDir, SERVICE))) return false
  // cron and sudo set none.
  const runtime = env.XDG_RUNTIME_DIR || `/run/user/${uid}`
  return (await run({ XDG_RUNTIME_DIR: runtime })('systemctl', '--user', 'start', SOCKET)).isDone
}

interface DaemonProgram {
  readonly node: string
  readonly program: string
  readonly env: NonNullable<SetupRecord['onDemand']>['env']
  /** What it prints before its own log is open. */
  readonly log: string
}

interface Start {
  readonly stateDir: string
  readonly program: DaemonProgram
  readonly isUp: () => Promise<boolean>
}

/** Of commands that run side by side one starts it, and the others wait. */
async function startOnce(host: Host, { stateDir, program, isUp }: Start): Promise<boolean> {
  const clock = systemClock()
  const deadline = clock.now() + UP_WITHIN_MS
  while (clock.now() < deadline) {
    if (await isUp()) return true
    const turn = await takeTurn(join(stateDir, 'starting.sock'))
    if (turn === undefined) {
      await sleep(LOOK_EVERY_MS)
      continue
    }
    try {
      const isHeld = async () => (await isUp()) || !(await isLockHeld(lockDirectory(host)))
      if (!(await waitFor(isHeld, LEAVING_MS))) return false
      if (await isUp()) return true
      await launch(program)
      host.writeErr('prefect-auth: started prefect-authd, which exits when it is idle\n')
      return await watchStart(host, { stateDir, program, isUp })
    } finally {
      turn.close()
    }
  }
  return false
}

/** `undefined` while another command has it. It ends with its process; that only one daemon runs is the state lock's business. */
async function takeTurn(path: string): Promise<{ close(): void } | undefined> {
  for (const isLast of [false, true]) {
    const server = createServer((socket) => socket.destroy())
    try {
      await listenOnPath(server, path)
      return { close: () => void server.close() }
    } catch {
      if (await isSocketAlive(path)) return undefined
      // Left by a process that was killed.
      if (!isLast) await unlink(path).catch(() => undefined)
    }
  }
  // This directory has no sockets, and so no turns.
  return { close: () => undefined }
}

/** No child of ours, because we may become the job, which would have to reap it. The log begins with its number. */
async function launch({ node, program, env, log }: DaemonProgram): Promise<void> {
  const file = await open(log, 'w', 0o600)
  try {
    const script = '"$@" </dev/null & echo "pid $!"'
    const child = spawn('/bin/sh', ['-c', script, 'sh', node, program], {
      env: { ...env, PREFECT_AUTHD_STARTED_BY: 'request' },
      cwd: '/',
      detached: true,
      stdio: ['ignore', file.fd, file.fd],
    })
    await new Promise<void>((resolve, reject) => {
      child.on('error', reject)
      child.on('exit', () => resolve())
    })
  } finally {
    await file.close()
  }
}

async function watchStart(host: Host, { program: { log }, isUp }: Start): Promise<boolean> {
  const clock = systemClock()
  const identify = createProcessIdentifier({ clock, platform: host.platform })
  const said = () => readFile(log, 'utf8').catch(() => '')
  const pid = Number(/^pid (\d+)$/m.exec(await said())?.[1] ?? 0)
  let isOver = false
  const isDecided = async () => {
    if (await isUp()) return true
    isOver = (await identify(pid)) === undefined
    return isOver
  }
  if ((await waitFor(isDecided, UP_WITHIN_MS)) && (!isOver || (await isUp()))) return true
  return failWith(notStarted(await said()))
}

function notStarted(said: string) {
  const lines = said.split('\n').filter((line) => line !== '' && !line.startsWith('pid '))
  const why = lines.find((line) => line.startsWith('prefect-authd: ')) ?? lines.at(-1) ?? 'it says nothing'
  return {
    code: 'daemon_not_started',
    kind: 'not_running',
    detail: `the daemon did not start: ${printable(why.replace(/^prefect-authd: /, ''))}`,
    hint: 'prefect-authd      (in the foreground, to see what it says)',
  } as const
}
