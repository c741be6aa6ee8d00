/** What goes through the proxy, counted by profile and token name since the daemon started. */
import { defined } from '../std/defined.js'

export interface ProxyTraffic {
  readonly profile: string
  /** Absent: the owner, on the main socket. */
  readonly token?: string
  readonly requests: number
  /** Requests sent a second time, with a newer key. */
  readonly replays: number
  /** Answered by us, because there was no valid key or no Prefect. */
  readonly parked: number
  /** From the client to Prefect, and back; bodies and frames. */
  readonly bytesUp: number
  readonly bytesDown: number
  /** Open now, and ever opened. */
  readonly sockets: number
  readonly socketsOpened: number
  /** Epoch ms. */
  readonly lastAt: number
}

export interface Meter {
  request(): void
  replay(): void
  park(): void
  bytes(up: number, down: number): void
  /** Call the answer when the socket has closed. */
  socket(): () => void
}

interface TrafficBook {
  meter(profile: string, token: string | undefined): Meter
  /** Busiest first. */
  read(): readonly ProxyTraffic[]
}

/** Names are the users' to invent: beyond this many, the longest unused line goes. */
const MAX_LINES = 500

type Counts = { -readonly [Name in keyof ProxyTraffic]: ProxyTraffic[Name] }

export function createTrafficBook({ now }: { readonly now: () => number }): TrafficBook {
  const lines = new Map<string, { readonly counts: Counts; readonly meter: Meter }>()
  return {
    meter(profile, token) {
      const name = JSON.stringify([profile, token])
      const known = lines.get(name)
      if (known !== undefined) return known.meter
      if (lines.size >= MAX_LINES) forgetOldest(lines)
      const counts = emptyCounts(profile, token)
      const meter = createMeter(counts, now)
      lines.set(name, { counts, meter })
      return meter
    },
    read: () =>
      [...lines.values()].map(({ counts }) => ({ ...counts })).sort((a, b) => b.requests - a.requests),
  }
}

function emptyCounts(profile: string, token: string | undefined): Counts {
  return {
    profile,
    ...defined({ token }),
    requests: 0,
    replays: 0,
    parked: 0,
    bytesUp: 0,
    bytesDown: 0,
    sockets: 0,
    socketsOpened: 0,
    lastAt: 0,
  }
}

function createMeter(counts: Counts, now: () => number): Meter {
  return {
    request() {
      counts.requests += 1
      counts.lastAt = now()
    },
    replay() {
      counts.replays += 1
    },
    park() {
      counts.parked += 1
      counts.lastAt = now()
    },
    bytes(up, down) {
      counts.bytesUp += up
      counts.bytesDown += down
    },
    socket() {
      counts.sockets += 1
      counts.socketsOpened += 1
      let isOpen = true
      return () => {
        if (isOpen) counts.sockets -= 1
        isOpen = false
      }
    },
  }
}

function forgetOldest(lines: Map<string, { readonly counts: Counts }>): void {
  const idle = [...lines].filter(([, { counts }]) => counts.sockets === 0)
  const [oldest] = idle.sort(([, a], [, b]) => a.counts.lastAt - b.counts.lastAt)
  if (oldest !== undefined) lines.delete(oldest[0])
}
