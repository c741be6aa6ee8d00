/** The places of a listener: how many connections strangers and each token may hold, and which one goes when all are taken. */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../std/clock.js'
import { defined } from '../std/defined.js'

export interface PlaceLimits {
  /** For connections that have shown no token, together. When taken, the oldest goes first. */
  readonly strangers: number
  /** For connections with a token, together. When taken, the token that holds most loses its oldest. */
  readonly known: number
  /** For the connections of one token. */
  readonly perToken: number
  /** How long a connection without a token may stay open after an answer. */
  readonly strangerMs: number
}

/** Who holds the places of a listener, since the start where it says so. */
export interface Crowd {
  readonly strangers: number
  /** By token name, most first. */
  readonly tokens: readonly (readonly [name: string, connections: number])[]
  /** Connections that were closed because their places were needed. */
  readonly closed: { readonly strangers: number; readonly tokens: number }
  /** The last time that places ran out, epoch ms, and who held most of them then. */
  readonly full?: { readonly at: number; readonly by: string }
}

export interface Shown {
  readonly id: string
  readonly name: string
}

export interface Places {
  /** To be called before the server listens. */
  watch(server: Server): void
  /** The connection has shown this token. Returns false if the token holds its share already. Never throws. */
  meet(socket: Socket, token: Shown): boolean
  /** To be called at every request, before it is handled; call the function that it returns when the response is over. */
  asked(socket: Socket): (() => void) | undefined
  look(): Crowd
}

interface Guest {
  readonly socket: Socket
  token?: Shown
  /** Requests that have no answer yet. */
  asking: number
  /** One of them is over. */
  readonly answered: () => void
  /** Runs out some time after the last answer to a connection without a token. */
  leaving?: NodeJS.Timeout
}

/** What a burst may add to a listener before somebody goes. */
export const BURST = 1_024

export function createPlaces(limits: PlaceLimits, clock: Pick<Clock, 'now'> = Date): Places {
  const guests = new WeakMap<Socket, Guest>()
  // In order of arrival.
  const strangers = new Set<Guest>()
  const byToken = new Map<string, Set<Guest>>()
  const closed = { strangers: 0, tokens: 0 }
  let known = 0
  let full: Crowd['full']
  let isTrimming = false

  function enter(socket: Socket): void {
    const guest: Guest = {
      socket,
      asking: 0,
      answered() {
        guest.asking -= 1
        if (guest.token === undefined && guest.asking === 0) closeLater(guest, limits.strangerMs)
      },
    }
    guests.set(socket, guest)
    strangers.add(guest)
    socket.once('close', () => leave(guest))
    if (strangers.size > limits.strangers) trimSoon()
  }

  function leave(guest: Guest): void {
    clearTimeout(guest.leaving)
    strangers.delete(guest)
    const own = guest.token && byToken.get(guest.token.id)
    if (!own?.delete(guest)) return
    known -= 1
    if (own.size === 0 && guest.token) byToken.delete(guest.token.id)
  }

  /** Two turns later: by then whoever has sent a token is known, and no job loses its place to a crowd that came with it. */
  function trimSoon(): void {
    if (isTrimming) return
    isTrimming = true
    setImmediate(() =>
      setImmediate(() => {
        isTrimming = false
        trim()
      }),
    )
  }

  function trim(): void {
    for (const guest of surplusStrangers()) {
      closed.strangers += 1
      full = { at: clock.now(), by: 'connections without a token' }
      leave(guest)
      guest.socket.destroy()
    }
    while (known > limits.known) {
      const guest = surplusKnown()
      if (guest === undefined) return
      closed.tokens += 1
      full = { at: clock.now(), by: `token '${guest.token?.name ?? ''}'` }
      leave(guest)
      guest.socket.destroy()
    }
  }

  function surplusStrangers(): readonly Guest[] {
    const surplus = strangers.size - limits.strangers
    if (surplus <= 0) return []
    // By age alone: half a request costs an attacker nothing, and must not save it from a job that has just connected.
    return [...strangers].slice(0, surplus)
  }

  /** Of the token that holds most: its oldest connection without a request, else its oldest. */
  function surplusKnown(): Guest | undefined {
    const [largest] = [...byToken.values()].sort((a, b) => b.size - a.size)
    const all = [...(largest ?? [])]
    return all.find(({ asking }) => asking === 0) ?? all[0]
  }

  return {
    watch(server) {
      server.on('connection', enter)
    },
    meet(socket, token) {
      const guest = guests.get(socket)
      if (guest === undefined || guest.token?.id === token.id) return true
      const own = byToken.get(token.id) ?? new Set()
      if (own.size >= limits.perToken) {
        full = { at: clock.now(), by: `token '${token.name}'` }
        return false
      }
      leave(guest)
      guest.token = token
      own.add(guest)
      byToken.set(token.id, own)
      known += 1
      if (known > limits.known) trimSoon()
      return true
    },
    asked(socket) {
      const guest = guests.get(socket)
      if (guest === undefined) return undefined
      guest.asking += 1
      return guest.answered
    },
    look: () => ({
      strangers: strangers.size,
      tokens: heldByName([...byToken.values()]),
      closed: { ...closed },
      ...defined({ full }),
    }),
  }
}

/** Two tokens may have one name. */
function heldByName(holdings: readonly ReadonlySet<Guest>[]): Crowd['tokens'] {
  const held = new Map<string, number>()
  for (const own of holdings) {
    const [first] = own
    const name = first?.token?.name ?? ''
    held.set(name, (held.get(name) ?? 0) + own.size)
  }
  return [...held].sort(([, a], [, b]) => b - a)
}

function closeLater(guest: Guest, ms: number): void {
  clearTimeout(guest.leaving)
  guest.leaving = setTimeout(() => {
    if (guest.token === undefined && guest.asking === 0) guest.socket.end()
  }, ms)
  guest.leaving.unref()
}
