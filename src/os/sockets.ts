/** Listens on a unix socket path: the length checked, nobody but the owner let in from the first moment on. */
import { chmod } from 'node:fs/promises'
import { createConnection, type Server } from 'node:net'
import { BrokerError } from '../base/errors.js'

/** `sun_path` has 108 bytes on Linux, 104 on macOS, with a NUL at the end. Node 20 cuts longer ones silently. */
const MAX_PATH_BYTES = 103

/** Rejects with `socket_path_too_long`, or with the system's error (`EADDRINUSE`, …). The directory must be private (0700). */
export async function listenOnPath(server: Server, path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new BrokerError(
      'socket_path_too_long',
      `the socket path ${path} has more than ${MAX_PATH_BYTES} bytes`,
      {
        hint: 'set PREFECT_AUTH_SOCKET (and PREFECT_AUTH_STATE_DIR) to shorter paths',
      },
    )
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ path }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  // Between bind and chmod the private directory keeps others out.
  await chmod(path, 0o600)
}

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
