/** Whether anybody is behind a unix socket. */
import { createConnection } from 'node:net'

const ANSWER_MS = 1_000

/**
 * `false` only where the system says that nobody listens there. A full queue (`EAGAIN`) is that of somebody who does not
 * answer: not dead, but hung. Never rejects.
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
    socket.on('error', (error) => finish(!('code' in error && isRefusal(error.code))))
  })
}

function isRefusal(code: unknown): boolean {
  return code === 'ECONNREFUSED' || code === 'ENOENT'
}
