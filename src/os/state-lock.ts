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
 */

import { readdir, rename, unlink } from 'node:fs/promises'
import { createConnection, createServer, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { type Clock, SECOND_MS, sleep } from '../std/clock.js'
import { ensurePrivateDirectory } from './private-files.js'
import { listenOnPath } from './sockets.js'
import { isMissing, systemCode } from './system-error.js'

export interface StateLock {
  release(): Promise<void>
}

/** `leaving`: it hung up without a word, as one that gives up does; ask it again. */
type Answer = 'holder' | 'candidate' | 'leaving' | 'dead'

/** One starter among others. */
interface Place {
  readonly directory: string
  readonly name: string
  readonly clock: Clock
  readonly patienceMs: number
}

const PATIENCE_MS = 5 * SECOND_MS
const POLL_MS = 20
/** How names begin that nobody asks yet. */
const HIDDEN = '.'

/** Rejects with `already_running` if another daemon has the state directory, or is taking it at this moment. */
export async function takeStateLock({
  stateDir,
  clock,
  newId,
  patienceMs = PATIENCE_MS,
}: {
  readonly stateDir: string
  readonly clock: Clock
  /** A few characters that differ between starters of the same millisecond. */
  readonly newId: () => string
  /**
   * A process that is silent for this long counts as stopped, and as the holder. If a busy machine needs longer, starters
   * take each other for the holder, and all of them give up.
   */
  readonly patienceMs?: number
}): Promise<StateLock> {
  const directory = join(stateDir, 'lock')
  await ensurePrivateDirectory(directory)
  for (;;) {
    const name = `${String(clock.now()).padStart(15, '0')}-${newId().slice(0, 6)}`
    const lock = await campaign({ directory, name, clock, patienceMs })
    if (lock !== undefined) return lock
  }
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
  server.unref()
  return { release: () => close(server, path) }
}

/** Listens under a hidden name, then renames it to the visible one. False if somebody took the hidden name away. */
async function isVisible(server: Server, { directory, name }: Place): Promise<boolean> {
  // As long as the visible one: both must fit into a socket address.
  const hidden = join(directory, `${HIDDEN}${name.slice(HIDDEN.length)}`)
  try {
    await listenOnPath(server, hidden)
    await rename(hidden, join(directory, name))
    return true
  } catch (error) {
    if (isMissing(error) && server.listening) return false
    throw error
  }
}

/** True once nobody else is there; false if our own name is gone. Rejects with `already_running`. */
async function elect({ directory, name, clock, patienceMs }: Place): Promise<boolean> {
  for (;;) {
    const names = await readdir(directory)
    if (!names.includes(name)) return false
    const visible = names.filter((other) => other !== name && !other.startsWith(HIDDEN))
    const others = await lookAt(directory, visible, patienceMs)
    if (others.length === 0) {
      // Left by starters that were killed half-way. One that is alive and loses its hidden name begins again.
      const hidden = names.filter((other) => other.startsWith(HIDDEN))
      void lookAt(directory, hidden, patienceMs)
      return true
    }
    if (others.some((other) => isAhead(other, name))) {
      throw new BrokerError('already_running', `another prefect-authd already uses ${dirname(directory)}`, {
        hint: 'prefect-auth status',
      })
    }
    await sleep(clock, POLL_MS)
  }
}

function isAhead(other: { readonly name: string; readonly answer: Answer }, name: string): boolean {
  return other.answer === 'holder' || (other.answer === 'candidate' && other.name < name)
}

/** Asks all of them at once, and unlinks the dead ones. Never rejects. */
async function lookAt(
  directory: string,
  names: readonly string[],
  patienceMs: number,
): Promise<{ name: string; answer: Answer }[]> {
  const looks = await Promise.all(
    names.map(async (other) => ({ name: other, answer: await ask(join(directory, other), patienceMs) })),
  )
  // Dead names are never used again: unlinking them cannot hit anyone alive.
  const dead = looks.filter(({ answer }) => answer === 'dead')
  await Promise.all(dead.map(({ name: other }) => unlink(join(directory, other)).catch(() => undefined)))
  return looks.filter(({ answer }) => answer !== 'dead')
}

/** A process that accepts and says nothing is alive but stopped: it must be taken for the holder. */
function ask(path: string, patienceMs: number): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = createConnection(path)
    let heard = ''
    const finish = (answer: Answer) => {
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

function understand(heard: string): Answer {
  if (heard === '') return 'leaving'
  return heard === 'candidate' ? 'candidate' : 'holder'
}

function diagnose(code: string | undefined): Answer {
  if (code === 'ECONNREFUSED' || code === 'ENOENT' || code === 'ENOTSOCK') return 'dead'
  return code === 'ECONNRESET' || code === 'EPIPE' ? 'leaving' : 'holder'
}

async function close(server: Server, path: string): Promise<void> {
  // A socket that we do not listen on is not ours to unlink.
  if (!server.listening) return
  await unlink(path).catch(() => undefined)
  await new Promise<void>((resolve) => server.close(() => resolve()))
}
