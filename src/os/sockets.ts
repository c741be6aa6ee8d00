/** Unix sockets: listen for the owner only, and find out whether somebody listens. */
import { chmodSync } from 'node:fs'
import { createConnection, type Server } from 'node:net'
import { BrokerError } from '../base/errors.js'
import { SECOND_MS } from '../std/clock.js'
import { systemCode } from './system-error.js'

/** `sun_path` has 108 bytes on Linux, 104 on macOS, with a NUL at the end. Node 20 truncates longer ones silently. */
const MAX_PATH_BYTES = 103

/**
 * Connections that wait in the kernel: a burst while we restart, or a crowd that connects at once. Beyond it the kernel drops
 * whoever comes, a job too, who then tries again after 1, 3 and 7 s.
 */
export const BACKLOG = 4096

/** Rejects with `socket_path_too_long`, or with the system's error (`EADDRINUSE`, …). The directory must be private (0700). */
export async function listenOnPath(server: Server, path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new BrokerError(
      'socket_path_too_long',
      `cannot listen on ${path}: the path is longer than ${MAX_PATH_BYTES} bytes`,
      {
        hint: 'set PREFECT_AUTH_SOCKET, or PREFECT_AUTH_STATE_DIR, to a shorter path',
      },
    )
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ path, backlog: BACKLOG }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  // Between bind and chmod the private directory keeps others out; and for good on a file system that keeps no modes.
  try {
    chmodSync(path, 0o600)
  } catch (error) {
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(systemCode(error) ?? '')) throw error
  }
}

const ANSWER_MS = SECOND_MS

/**
 * False only if the system says that nobody listens there. A process that does not answer, or whose queue is full
 * (`EAGAIN`), is hung, not dead. Never rejects.
 */
export function isSocketAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path)
    const finish = (isAlive: boolean) => {
      socket.destroy()
      resolve(isAlive)
    }
    socket.setTimeout(ANSWER_MS, () => finish(true))
    socket.on('connect', () => finish(true))
    socket.on('error', (error) => finish(!isRefusal(systemCode(error))))
  })
}

function isRefusal(code: string | undefined): boolean {
  return code === 'ECONNREFUSED' || code === 'ENOENT'
}

/** More than any table that we read this way. */
const MAX_TEXT_CHARACTERS = 4_000_000

/** What whoever listens there sends until it closes; `undefined` if that fails, or lasts longer. Never rejects. */
export function readSocket(path: string, deadlineMs: number): Promise<string | undefined> {
  return askSocket(path, '', deadlineMs)
}

/** As `readSocket`, after `question` was sent. */
export function askSocket(path: string, question: string, deadlineMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = createConnection(path)
    if (question !== '') socket.write(question)
    let text = ''
    const finish = (outcome: string | undefined) => {
      clearTimeout(late)
      socket.destroy()
      resolve(outcome)
    }
    const late = setTimeout(() => finish(undefined), deadlineMs)
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      if (text.length > MAX_TEXT_CHARACTERS) finish(undefined)
    })
    socket.on('end', () => finish(text === '' ? undefined : text)).on('error', () => finish(undefined))
  })
}
