/**
 * One daemon per state directory, by a lock that dies with its process.
 *
 * Node has no flock, and a lock file with a fixed name cannot be taken from a dead owner without a race. So every
 * starter listens on a socket under a name that is never reused, and asks the sockets of the others:
 * - another one holds the lock: ours gives up;
 * - another candidate: the later name gives up, the earlier one waits for the outcome;
 * - nobody: ours holds the lock.
 * Of any two, the one that came second lists after both exist, so both cannot see nobody. A socket gets its visible
 * name only once it listens, and loses it before it stops: a visible name that refuses belongs to a dead process, and
 * anybody may unlink it. A starter that does not find its own name begins again under a new one.
 *
 * That holds for one kernel. In a directory that hosts share (NFS), the socket of another host refuses though its process
 * lives, so a name says its host and boot: one that refuses is dead if it is of this boot, or of an earlier boot of this
 * host; any other one counts as the holder.
 */

import { readdirSync, renameSync } from 'node:fs'
import { unlink } from 'node:fs/promises'
import { createConnection, createServer, type Server } from 'node:net'
import { platform } from 'node:os'
import { dirname, join } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { type Clock, SECOND_MS, sleep } from '../std/clock.js'
import { sha256Hex } from '../std/secret.js'
import { cleanText, quoteWord } from '../std/text.js'
import { writeFileAtomic } from './atomic-file.js'
import { ensurePrivateDirectory, readPlainFile, readPrivateFile } from './private-files.js'
import { type HostIdentity, identifyHost, isBoundInKernel } from './proc.js'
import { listenOnPath } from './sockets.js'
import { isMissing, systemCode } from './system-error.js'

export interface StateLock {
  release(): Promise<void>
}

/**
 * `leaving`: it hung up without a word, as one that gives up does; ask it again. `foreign`: of another host, which we cannot
 * ask. `hidden`: a process of this kernel listens under this name, but not where we see it (another mount lies over it).
 */
type Answer = 'holder' | 'candidate' | 'leaving' | 'dead' | 'foreign' | 'hidden'
/** `refused`: nobody listens there, as far as this kernel knows. */
type Heard = Exclude<Answer, 'foreign' | 'hidden'> | 'refused'

/** One starter among others. */
interface Place {
  readonly directory: string
  readonly name: string
  readonly host: HostIdentity
  readonly clock: Clock
  readonly patienceMs: number
}

const PATIENCE_MS = 5 * SECOND_MS
const POLL_MS = 20
/** How names begin that nobody asks yet. */
const HIDDEN = '.'

/**
 * Rejects with `already_running` if another daemon has the state directory, on this host or another, or is taking it at this
 * moment; with `state_dir_unsafe` if the file system has no sockets.
 */
export async function takeStateLock({
  stateDir,
  clock,
  newId,
  host: given,
  patienceMs = PATIENCE_MS,
}: {
  readonly stateDir: string
  readonly clock: Clock
  /** Hex digits that differ between starters of the same millisecond. */
  readonly newId: () => string
  /** Default this host. */
  readonly host?: HostIdentity
  /**
   * A process that is silent for this long counts as stopped, and as the holder. If a busy machine needs longer, starters
   * take each other for the holder, and all of them give up.
   */
  readonly patienceMs?: number
}): Promise<StateLock> {
  const directory = join(stateDir, 'lock')
  await ensurePrivateDirectory(directory)
  const host = given ?? (await identifyHost(clock, platform()))
  for (;;) {
    const name = nameOf(clock.now(), newId(), host)
    const lock = await campaign({ directory, name, host, clock, patienceMs })
    if (lock === undefined) continue
    await nameHost(stateDir, host).catch(() => undefined)
    return lock
  }
}

/** For the message of another host that is refused; nothing depends on it. Most starts find it there. */
async function nameHost(stateDir: string, { name }: HostIdentity): Promise<void> {
  const path = hostFile(stateDir)
  if (String(await readPrivateFile(path).catch(() => undefined)) === `${name}\n`) return
  await writeFileAtomic(path, `${name}\n`)
}

/** Time, chance, host, boot, in base 36: 22 characters, because the path of a socket must be short. */
function nameOf(now: number, id: string, host: HostIdentity): string {
  const chance = base36(Number.parseInt(id.slice(0, 8), 16), 6)
  return `${Math.floor(now).toString(36).padStart(8, '0')}${chance}${mark(host.id)}${mark(host.boot)}`
}

function mark(text: string): string {
  return base36(Number.parseInt(sha256Hex(text).slice(0, 8), 16), 4)
}

function base36(number: number, digits: number): string {
  return number.toString(36).padStart(digits, '0').slice(-digits)
}

/** Whether a process of another kernel has this name, and not one of this host before it was started again. */
function isForeign(name: string, host: HostIdentity): boolean {
  const [, id, boot] = /^.[0-9a-z]{13,}([0-9a-z]{4})([0-9a-z]{4})$/.exec(name) ?? []
  return id !== undefined && id !== mark(host.id) && boot !== mark(host.boot)
}

function hostFile(stateDir: string): string {
  return join(stateDir, 'lock-host')
}

/** Listens under this name until it is decided who holds the lock. `undefined`: somebody took the name away. */
async function campaign(place: Place): Promise<StateLock | undefined> {
  const path = join(place.directory, place.name)
  let role: 'holder' | 'candidate' = 'candidate'
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    // A peer that was stopped in the middle must not hold up our release.
    socket.end(role, () => socket.destroy())
  })
  try {
    if (!(await isVisible(server, place)) || !(await elect(place))) {
      await close(server, path)
      return undefined
    }
  } catch (error) {
    await close(server, path)
    throw error
  }
  role = 'holder'
  // Without descriptors `accept` fails; an error that nobody hears ends the process.
  server.on('error', () => undefined)
  server.unref()
  return { release: () => close(server, path) }
}

/** Listens under a hidden name, then renames it to the visible one. False if somebody took the hidden name away. */
async function isVisible(server: Server, { directory, name }: Place): Promise<boolean> {
  // As long as the visible one: both must fit into a socket address.
  const hidden = join(directory, `${HIDDEN}${name.slice(HIDDEN.length)}`)
  try {
    await listenOnPath(server, hidden)
    renameSync(hidden, join(directory, name))
    return true
  } catch (error) {
    if (isMissing(error) && server.listening) return false
    throw isWithoutSockets(error) ? noSockets(dirname(directory), error) : error
  }
}

/** vfat, some FUSE and network file systems, the drives of Windows under WSL. */
function isWithoutSockets(error: unknown): boolean {
  return ['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'EINVAL', 'ENOSYS'].includes(systemCode(error) ?? '')
}

function noSockets(stateDir: string, cause: unknown): BrokerError {
  return new BrokerError(
    'state_dir_unsafe',
    `cannot lock ${stateDir}: its file system has no unix sockets (${systemCode(cause)})`,
    { hint: 'put the state on a local disk: PREFECT_AUTH_STATE_DIR=/PATH/OF/A/NEW/DIRECTORY', cause },
  )
}

/** True once nobody else is there; false if our own name is gone. Rejects with `already_running`. */
async function elect(place: Place): Promise<boolean> {
  const { directory, name, clock } = place
  for (;;) {
    const names = readdirSync(directory)
    if (!names.includes(name)) return false
    const visible = names.filter((other) => other !== name && !other.startsWith(HIDDEN))
    const others = await lookAt(place, visible)
    if (others.length === 0) {
      // Left by starters that were killed half-way. One that is alive and loses its hidden name begins again.
      const hidden = names.filter((other) => other.startsWith(HIDDEN))
      void lookAt(place, hidden)
      return true
    }
    const ahead = others.find((other) => isAhead(other, name))
    if (ahead !== undefined) throw await alreadyRunning(directory, ahead)
    await sleep(clock, POLL_MS)
  }
}

type Other = { readonly name: string; readonly answer: Answer }

function isAhead({ name: other, answer }: Other, name: string): boolean {
  if (answer === 'candidate') return other < name
  return answer === 'holder' || answer === 'foreign' || answer === 'hidden'
}

async function alreadyRunning(directory: string, { name, answer }: Other): Promise<BrokerError> {
  const stateDir = dirname(directory)
  if (answer !== 'foreign') {
    const where = answer === 'hidden' ? ', in another container or mount namespace' : ''
    return new BrokerError('already_running', `another prefect-authd already uses ${stateDir}${where}`, {
      hint: 'prefect-auth status',
    })
  }
  const named = await readPlainFile(hostFile(stateDir)).catch(() => undefined)
  const host = cleanText((named?.toString('utf8') ?? '').trim(), 80)
  const whose = host === '' ? 'another host' : `the host '${host}'`
  return new BrokerError(
    'already_running',
    `a prefect-authd on ${whose} already uses ${stateDir}: two hosts must not share it`,
    {
      hint: `give this host a state of its own: PREFECT_AUTH_STATE_DIR=${quoteWord(stateDir)}-$(hostname); or, if no prefect-authd runs there any more: rm ${quoteWord(join(directory, name))}`,
    },
  )
}

/** Asks all of them at once, and unlinks the dead ones. Never rejects. */
async function lookAt(place: Place, names: readonly string[]): Promise<Other[]> {
  const looks = await Promise.all(names.map(async (name) => ({ name, answer: await judge(place, name) })))
  // Dead names are never used again: unlinking them cannot hit anyone alive.
  const dead = looks.filter(({ answer }) => answer === 'dead')
  await Promise.all(dead.map(({ name }) => unlink(join(place.directory, name)).catch(() => undefined)))
  return looks.filter(({ answer }) => answer !== 'dead')
}

async function judge({ directory, host, patienceMs }: Place, name: string): Promise<Answer> {
  const answer = await ask(join(directory, name), patienceMs)
  if (answer !== 'refused') return answer
  if (isForeign(name, host)) return 'foreign'
  // It was bound under its hidden name.
  return (await isBoundInKernel(`/${HIDDEN}${name.slice(HIDDEN.length)}`)) ? 'hidden' : 'dead'
}

/** A process that accepts and says nothing is alive but stopped: it must be taken for the holder. */
function ask(path: string, patienceMs: number): Promise<Heard> {
  return new Promise((resolve) => {
    const socket = createConnection(path)
    let heard = ''
    const finish = (answer: Heard) => {
      socket.destroy()
      resolve(answer)
    }
    socket.setEncoding('utf8')
    socket.setTimeout(patienceMs, () => finish('holder'))
    socket.on('data', (text: string) => {
      heard += text
    })
    socket.on('end', () => finish(understand(heard)))
    socket.on('error', (error) => finish(diagnose(systemCode(error))))
  })
}

function understand(heard: string): Heard {
  if (heard === '') return 'leaving'
  return heard === 'candidate' ? 'candidate' : 'holder'
}

function diagnose(code: string | undefined): Heard {
  if (code === 'ENOENT') return 'dead'
  if (code === 'ECONNREFUSED' || code === 'ENOTSOCK') return 'refused'
  return code === 'ECONNRESET' || code === 'EPIPE' ? 'leaving' : 'holder'
}

async function close(server: Server, path: string): Promise<void> {
  // A socket that we do not listen on is not ours to unlink.
  if (!server.listening) return
  await unlink(path).catch(() => undefined)
  await new Promise<void>((resolve) => server.close(() => resolve()))
}
