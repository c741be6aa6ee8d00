/** Who is connected, and since when nothing came or went: whatever is open at any door is a connection. */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../std/clock.js'

export interface Presence {
  readonly connections: number
  /** Since the last connection came or went, or since the start. Milliseconds of awake time. */
  readonly quietMs: number
}

export interface PresenceBook {
  watch(server: Server): void
  look(): Presence
}

export function createPresenceBook(clock: Clock): PresenceBook {
  // A set: a request that offers an upgrade which is not taken announces its connection once more.
  const open = new Set<Socket>()
  let movedAt = clock.monotonic()
  const move = () => {
    movedAt = clock.monotonic()
  }
  return {
    watch(server) {
      server.on('connection', (socket: Socket) => {
        move()
        if (open.has(socket)) return
        open.add(socket)
        socket.once('close', () => {
          move()
          open.delete(socket)
        })
      })
    },
    look: () => ({ connections: open.size, quietMs: clock.monotonic() - movedAt }),
  }
}
