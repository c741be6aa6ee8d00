/** The sockets under a WebSocket: kept waiting, joined, or sent away. */
import type { Duplex } from 'node:stream'
import { guarded } from '../http/guarded.js'
import { type Clock, SECOND_MS } from '../std/clock.js'

/** Reads on while the upstream is dialled: only a reader notices that the other side leaves. */
export function keepEarly(
  { socket, head }: { readonly socket: Duplex; readonly head: Buffer },
  most: number,
  ifMore: 'pause' | 'destroy',
) {
  const gone = new AbortController()
  const early: Buffer[] = head.length === 0 ? [] : [head]
  let bytes = head.length
  const keep = guarded(socket, (chunk: Buffer) => {
    early.push(chunk)
    bytes += chunk.length
    if (bytes > most) socket[ifMore]()
  })
  const leave = () => gone.abort()
  if (socket.destroyed) leave()
  socket.on('data', keep).on('close', leave).on('end', leave).resume()
  return {
    signal: gone.signal,
    /** Pauses the socket, and returns what was kept. */
    stop(): Buffer {
      socket.off('data', keep).off('end', leave).pause()
      return Buffer.concat(early)
    },
  }
}

/** The two ends of a WebSocket. */
export interface Pair {
  readonly client: Duplex
  readonly upstream: Duplex
}

/** After one side has closed, how long the rest of what it sent may take to arrive. */
export const LINGER_MS = 2 * SECOND_MS

/** Sends a last frame, discards what still comes, and ends the connection, whatever the peer does. */
export function farewell(socket: Duplex, last: Buffer, clock: Clock): void {
  // Closed with bytes unread, the peer would be told of a reset, and might lose the frame.
  socket.on('data', () => undefined).on('error', () => socket.destroy())
  const late = clock.after(LINGER_MS, () => socket.destroy())
  socket.on('close', () => late.cancel())
  socket.resume()
  socket.end(last)
}

/**
 * Joins two sockets. `onClose` is called once, when both are closed. `screen` may read what `other` says first; its bytes flow
 * once it calls back.
 */
export function splice(
  one: Duplex,
  other: Duplex,
  clock: Clock,
  onClose: () => void,
  screen: (flow: () => void) => void = (flow) => flow(),
): void {
  let open = 2
  const cut = () => {
    one.destroy()
    other.destroy()
  }
  const mind = (from: Duplex, to: Duplex) => {
    from.on('error', cut)
    from.on('close', () => {
      open -= 1
      if (open === 0) return onClose()
      // Bytes already written still go out; a side that never hangs up is cut.
      to.end()
      clock.after(LINGER_MS, cut)
    })
  }
  mind(one, other)
  mind(other, one)
  one.pipe(other)
  screen(() => void other.pipe(one))
}
