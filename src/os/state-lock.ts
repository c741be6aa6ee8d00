/**
 * One daemon per state directory, by a lock that dies with its process. Node has no flock, and a lock file with a fixed
 * name can't be taken away from a dead owner without a race. So every starter listens on a socket with a name of its
 * own, which nobody reuses and anybody may unlink once it is dead, and looks at the others:
 * - another one that holds the lock: ours gives up;
 * - another candidate: the later name gives up, the earlier one waits for the outcome;
 * - nobody: ours holds the lock.
 * Of any two, the one that came second lists after both exist, so both can't see nobody. A socket is seen before it
 * listens, and may be taken for dead then: who doesn't find its own name in its list begins again under a new one.
 */

import { readdir, unlink } from 'node:fs/promises'
import { createConnection, createServer, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { type Clock, sleep } from '../std/clock.js'
import { ensurePrivateDirectory } from './private-files.js'
import { listenOnPath } from './sockets.js'

export interface StateLock {
  release(): Promise<void>
}

interface TakeStateLockDeps {
  readonly stateDir: string
  readonly clock: Clock
  /** A few characters that differ between starters of the same millisecond. */
  readonly newId: () => string
}

/** `leaving`: it hung up without a word, as one that gives up does; it is to be asked again. */
type Answer = 'holder' | 'candidate' | 'leaving' | 'dead'

/** Enough for a busy machine: who is silent for so long is stopped, and holds what it holds. */
const ANSWER_MS = 5_000
const POLL_MS = 20

/** Rejects with `already_running` where another daemon has the state directory, or is just taking it. */
export async function takeStateLock({ stateDir, clock, newId }: TakeStateLockDeps): Promise<StateLock> {
  const directory = join(stateDir, 'lock')
  await ensurePrivateDirectory(directory)
  for (;;) {
    const name = `${String(clock.now()).padStart(15, '0')}-${newId().slice(0, 6)}`
    const lock = await stand({ directory, name, clock })
    if (lock !== undefined) return lock
  }
}

/** Stands for election under this name. `undefined`: somebody took the name away. */
async function stand(place: Place): Promise<StateLock | undefined> {
  const path = join(place.directory, place.name)
  let role: 'holder' | 'candidate' = 'candidate'
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    // A peer that was stopped in the middle must not hold up our release.
    socket.end(role, () => socket.destroy())
  })
  try {
    if (!(await isListening(server, path)) || !(await elect(place))) {
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

/** Not where the name was taken away before the socket was ready: it was taken for dead. */
async function isListening(server: Server, path: string): Promise<boolean> {
  try {
    await listenOnPath(server, path)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT' && server.listening) return false
    throw error
  }
}

interface Place {
  readonly directory: string
  readonly name: string
  readonly clock: Clock
}

/** Whether nobody else is there. Rejects with `already_running` where somebody is. */
async function elect({ directory, name, clock }: Place): Promise<boolean> {
  for (;;) {
    const names = await readdir(directory)
    if (!names.includes(name)) return false
    const others = await lookAt(
      directory,
      names.filter((other) => other !== name),
    )
    if (others.length === 0) return true
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

async function lookAt(
  directory: string,
  names: readonly string[],
): Promise<{ name: string; answer: Answer }[]> {
  const looks = await Promise.all(
    names.map(async (other) => ({ name: other, answer: await ask(join(directory, other)) })),
  )
  // Dead names are never used again: taking them away can't hit anyone alive.
  const dead = looks.filter(({ answer }) => answer === 'dead')
  await Promise.all(dead.map(({ name: other }) => unlink(join(directory, other)).catch(() => undefined)))
  return looks.filter(({ answer }) => answer !== 'dead')
}

/** One that accepts and says nothing is alive, and stopped: it must be taken for the holder. */
function ask(path: string): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = createConnection(path)
    let heard = ''
    const finish = (answer: Answer) => {
      socket.destroy()
      resolve(answer)
    }
    socket.setEncoding('utf8')
    socket.setTimeout(ANSWER_MS, () => finish('holder'))
    socket.on('data', (text: string) => {
      heard += text
    })
    socket.on('end', () => finish(understand(heard)))
    socket.on('error', (error) => finish('code' in error ? diagnose(error.code) : 'holder'))
  })
}

function understand(heard: string): Answer {
  if (heard === '') return 'leaving'
  return heard === 'candidate' ? 'candidate' : 'holder'
}

function diagnose(code: unknown): Answer {
  if (code === 'ECONNREFUSED' || code === 'ENOENT' || code === 'ENOTSOCK') return 'dead'
  return code === 'ECONNRESET' || code === 'EPIPE' ? 'leaving' : 'holder'
}

async function close(server: Server, path: string): Promise<void> {
  // What we do not listen on is not ours to take away.
  if (!server.listening) return
  await new Promise<void>((resolve) => server.close(() => resolve()))
  await unlink(path).catch(() => undefined)
}
