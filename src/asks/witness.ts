/** Who has asked a question: the programs at the other end of the connections on which it came. */
import type { Socket } from 'node:net'
import { type Clock, SECOND_MS } from '../std/clock.js'
import type { FindPeer, Peer } from './asks.js'

export interface Witness {
  /** Looks who it is, in the background; a connection is looked at once. */
  see(socket: Socket): void
  /** Those that were seen; `undefined` for one that cannot be told. Waits for looks under way. Never rejects. */
  peers(): Promise<readonly (Peer | undefined)[]>
  /** Those that are known by now. */
  known(): readonly Peer[]
}

/** The last ones: a program that starts others for each attempt must not fill the memory with them. */
const MOST = 8
/** A look starts a process: of a program that connects anew each time, one connection a second is looked at. */
const EVERY_MS = SECOND_MS

export function createWitness(findPeer: FindPeer, clock: Clock): Witness {
  const seen = new WeakSet<Socket>()
  const looks: Promise<Peer | undefined>[] = []
  const found: Peer[] = []
  let lastAt = Number.NEGATIVE_INFINITY
  return {
    see(socket) {
      if (seen.has(socket) || clock.monotonic() - lastAt < EVERY_MS) return
      seen.add(socket)
      lastAt = clock.monotonic()
      looks.push(
        findPeer(socket).then(
          (peer) => {
            if (peer !== undefined) keep(found, peer)
            return peer
          },
          () => undefined,
        ),
      )
      if (looks.length > MOST) looks.shift()
    },
    peers: () => Promise.all(looks),
    known: () => found,
  }
}

function keep(found: Peer[], peer: Peer): void {
  found.push(peer)
  if (found.length > MOST) found.shift()
}
