/** Who has asked a question: the programs at the other end of the connections on which it came. */
import type { Socket } from 'node:net'
import type { FindCaller } from '../os/callers.js'
import type { Peer } from '../os/peer.js'
import type { FindPeer } from '../os/peer-finder.js'
import { type Clock, SECOND_MS } from '../std/clock.js'

export interface Witness {
  /** Looks who it is, in the background; a connection is looked at once. */
  see(socket: Socket): void
  /** The first process of the job that asks, if it still runs: it says more than a part of it that has left its parents. */
  addRoot(root: Promise<Peer | undefined>): void
  /** Those that were seen; `undefined` if none of them can be told. Waits for looks under way. Never rejects. */
  peers(): Promise<readonly (Peer | undefined)[]>
  /** For people: those that are known by now. */
  shown(): readonly string[]
}

/** The last ones: a program that starts others for each attempt must not fill the memory with them. */
const MOST = 8
/** Looking starts a process. For a program that opens a connection for each attempt, that is done once a second at most. */
const EVERY_MS = SECOND_MS

export function createWitness({
  findPeer,
  findCaller,
  clock,
}: {
  readonly findPeer: FindPeer
  readonly findCaller: FindCaller
  readonly clock: Clock
}): Witness {
  const seen = new WeakSet<Socket>()
  const peers: Peer[] = []
  const roots: Promise<Peer | undefined>[] = []
  const shown = new Set<string>()
  let looks = Promise.resolve()
  let isLooking = false
  let lastAt = Number.NEGATIVE_INFINITY

  async function look(socket: Socket): Promise<void> {
    const peer = await findPeer(socket).catch(() => undefined)
    if (peer !== undefined) keepLast(peers, peer)
    const text = peer?.shown ?? (await findCaller(socket).catch(() => undefined))
    if (text === undefined || shown.has(text)) return
    const [first] = shown
    if (shown.size >= MOST && first !== undefined) shown.delete(first)
    shown.add(text)
  }

  return {
    see(socket) {
      // Whoever answers waits for the looks: where one takes long, they must not pile up.
      if (isLooking || seen.has(socket) || clock.monotonic() - lastAt < EVERY_MS) return
      seen.add(socket)
      lastAt = clock.monotonic()
      isLooking = true
      looks = look(socket).finally(() => {
        isLooking = false
      })
    },
    addRoot: (root) => void roots.push(root.catch(() => undefined)),
    async peers() {
      await looks
      const known = [...peers, ...(await Promise.all(roots))].filter(
        (one) => one !== undefined && one.chain.length > 0,
      )
      // One that ended before it was looked at says nothing beside another that is known.
      if (peers.some(({ chain }) => chain.length > 0)) return known
      return [...(peers.length > 0 ? peers : [undefined]), ...known]
    },
    shown: () => [...shown],
  }
}

function keepLast(peers: Peer[], peer: Peer): void {
  peers.push(peer)
  if (peers.length > MOST) peers.shift()
}
