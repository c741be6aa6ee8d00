/** Listens on a unix socket path: the length checked, nobody but the owner let in from the first moment on. */
import { chmod } from 'node:fs/promises'
import type { Server } from 'node:net'
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
