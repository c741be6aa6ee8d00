/**
 * Node looks for callers that are too slow every few seconds, whether somebody called or not. A daemon that nobody needs
 * must let the machine sleep: here it looks while there are connections.
 */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'

/** The longest that a timer of Node can wait: 25 days. */
const NEVER_MS = 2 ** 31 - 1

/** To be called before anybody else listens to `server`. */
export function checkWhileConnected(server: Server, everyMs: number): void {
  // Node's own listener starts its interval, and starts it anew when it is called again; there is no other way to it.
  // Should a later Node have none, its interval is what it was.
  const [restart] = server.listeners('listening')
  if (restart === undefined) return
  const look = (ms: number) => {
    Reflect.set(server, 'connectionsCheckingInterval', ms)
    // A closing server has stopped its interval for good.
    if (server.listening) Reflect.apply(restart, server, [])
  }
  // A set: a request that offers an upgrade which is not taken announces its connection once more.
  const connected = new Set<Socket>()
  look(NEVER_MS)
  server.on('connection', (socket: Socket) => {
    if (connected.has(socket)) return
    connected.add(socket)
    if (connected.size === 1) look(everyMs)
    socket.once('close', () => {
      connected.delete(socket)
      if (connected.size === 0) look(NEVER_MS)
    })
  })
}
