/** Who is connected, and since when nothing came or went: whatever is open at any door is a connection. */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { RouteOptions } from 'fastify'
import type { Clock } from '../std/clock.js'

export interface Presence {
  readonly connections: number
  /** Since the last connection came or went, or since the start. Milliseconds of awake time. */
  readonly quietMs: number
}

interface PresenceBook {
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

export interface ActBook {
  /** To be called for every route as it is added. What only looks is not counted. */
  watch(route: RouteOptions): void
  underWay(): number
}

export function createActBook(): ActBook {
  let count = 0
  return {
    watch(route) {
      if (route.method === 'GET' || route.method === 'HEAD') return
      const { handler } = route
      route.handler = async function act(request, reply) {
        count += 1
        try {
          return await handler.call(this, request, reply)
        } finally {
          count -= 1
        }
      }
    },
    underWay: () => count,
  }
}
