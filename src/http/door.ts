/** By which door a connection came, and under which names that door may be called. */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Door } from '../tokens/access.js'

/** One listener, as the guard sees it. */
export interface Entrance {
  readonly door: Door
  /** Exactly these `Host` values are answered; everything else is a rebound name or a mistake. */
  readonly hosts: ReadonlySet<string>
}

export interface Doorkeeper {
  /** Every connection of `server` counts as come through `door`. `hosts`: more names, for the TCP door only. */
  watch(server: Server, door: Door, hosts: readonly string[]): void
  /** `undefined` for a connection that came through no door: refuse it. */
  entranceOf(socket: Socket): Entrance | undefined
}

const SOCKET_HOSTS = ['authd', 'localhost'] as const

/** Remembers the door per connection, not per request: keep-alive pays for it once. */
export function createDoorkeeper(): Doorkeeper {
  const entrances = new WeakMap<Socket, Entrance>()
  return {
    watch(server, door, hosts) {
      let entrance: Entrance | undefined
      server.on('connection', (socket: Socket) => {
        // The port is known once the server listens: it may be any free one, or one that systemd opened.
        entrance ??= { door, hosts: new Set(hostsOf(server, door, hosts)) }
        entrances.set(socket, entrance)
      })
    },
    entranceOf: (socket) => entrances.get(socket),
  }
}

function hostsOf(server: Server, door: Door, hosts: readonly string[]): readonly string[] {
  if (door !== 'tcp') return SOCKET_HOSTS
  const address = server.address()
  if (address === null || typeof address === 'string') return hosts
  return [`127.0.0.1:${address.port}`, `localhost:${address.port}`, ...hosts]
}
