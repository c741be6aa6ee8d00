/** Traffic: who uses the proxy, counted, noted in the audit log, and cut off when their token dies. */
import type { Doorkeeper } from '../http/guard.js'
import type { RequestHead } from '../http/request.js'
import type { Trail } from '../http/trail.js'
import { type Clock, HOUR_MS, type Timer } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { createRoll } from '../std/roll.js'
import type { Tokens } from '../tokens/tokens.js'
import type { Visitor } from './admission.js'

/** Counted by profile and token name since the daemon started. */
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
  /** What was not forwarded, the newest first. */
  readonly refused: readonly RefusedOperation[]
}

export interface RefusedOperation {
  /** `DELETE /accounts/{account}/workspaces/{workspace}` */
  readonly operation: string
  readonly count: number
}

/** Requests that were refused because nobody knows who sent them. */
export interface Strangers {
  readonly refused: number
  /** Epoch ms; absent if there was none. */
  readonly lastAt?: number
}

export interface Meter {
  replay(): void
  park(): void
  /** Notes an operation that was not forwarded. */
  refuse(operation: string): void
  bytes(up: number, down: number): void
  /** Counts an open socket; call the function that it returns when the socket has closed. */
  socket(): () => void
}

/** Everything that is open on behalf of a token. */
export interface Live {
  /** `open` is destroyed once the token is no longer good; call the function that this returns when all is over. */
  track(tokenId: string | undefined, open: { destroy(): unknown }): () => void
  /** Cuts all that is left, and everything that is tracked from now on. */
  stop(): void
}

export interface Traffic {
  /** Counts a request of a caller that was let in, and notes its first one in an hour in the audit log. */
  welcome(request: RequestHead, visitor: Visitor, profile: string): Meter
  meter(profile: string, tokenName: string | undefined): Meter
  readonly requests: Live
  readonly sockets: Live
  /** Counts a request that showed no token, or none that is good. */
  turnAway(): void
  strangers(): Strangers
  /** Busiest first. */
  read(): readonly ProxyTraffic[]
}

export function createTraffic({
  tokens,
  trail,
  doorkeeper,
  clock,
  revokeMs,
}: {
  readonly tokens: Pick<Tokens, 'use'>
  readonly trail: Pick<Trail, 'done'>
  readonly doorkeeper: Pick<Doorkeeper, 'meet'>
  readonly clock: Clock
  /** How long what is open may outlive its token. */
  readonly revokeMs: number
}): Traffic {
  const lines = createLines(clock)
  let strangers: Strangers = { refused: 0 }
  const noteUse = createUseNotes(trail, clock)
  return {
    welcome(request, visitor, profile) {
      noteUse(request, visitor, profile)
      // A token in a WebSocket's first frame.
      if (visitor.token !== undefined) doorkeeper.meet(request.socket, visitor.token)
      const { counts, meter } = lines.of(profile, visitor.token?.name)
      counts.requests += 1
      counts.lastAt = clock.now()
      return meter
    },
    meter: (profile, tokenName) => lines.of(profile, tokenName).meter,
    requests: createLive(tokens, clock, revokeMs),
    sockets: createLive(tokens, clock, revokeMs),
    turnAway() {
      strangers = { refused: add(strangers.refused, 1), lastAt: clock.now() }
    },
    strangers: () => strangers,
    read: () =>
      lines
        .all()
        .map(view)
        .sort((a, b) => b.requests - a.requests),
  }
}

type Counts = { -readonly [Name in keyof Omit<ProxyTraffic, 'refused'>]: ProxyTraffic[Name] }

interface Line {
  readonly counts: Counts
  /** In the order of their last time. */
  readonly refused: Map<string, number>
  readonly meter: Meter
}

function view({ counts, refused }: Line): ProxyTraffic {
  const operations = Array.from(refused, ([operation, count]) => ({ operation, count }))
  return { ...counts, refused: operations.reverse() }
}

/** No count gets larger than what a reader of JSON takes for a whole number. */
function add(count: number, more: number): number {
  return Math.min(count + more, Number.MAX_SAFE_INTEGER)
}

/** Users choose the names: beyond this many, the line that was unused for longest goes. */
const MAX_LINES = 500

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

/** Callers choose the paths: beyond this many, the operation that was refused longest ago goes. */
const MAX_REFUSED = 50

function createMeter(counts: Counts, refused: Map<string, number>, clock: Clock): Meter {
  return {
    replay() {
      counts.replays += 1
    },
    park() {
      counts.parked += 1
      counts.lastAt = clock.now()
    },
    refuse(operation) {
      const before = refused.get(operation) ?? 0
      refused.delete(operation)
      const [oldest] = refused.keys()
      if (refused.size >= MAX_REFUSED && oldest !== undefined) refused.delete(oldest)
      refused.set(operation, add(before, 1))
      counts.lastAt = clock.now()
    },
    bytes(up, down) {
      counts.bytesUp = add(counts.bytesUp, up)
      counts.bytesDown = add(counts.bytesDown, down)
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

/** By profile and token name, made when they are first asked for. */
function createLines(clock: Clock) {
  const byProfile = new Map<string, Map<string | undefined, Line>>()
  const all = () => [...byProfile.values()].flatMap((byToken) => [...byToken.values()])
  const forgetOldest = (): void => {
    const idle = all().filter(({ counts }) => counts.sockets === 0)
    const [oldest] = idle.sort((a, b) => a.counts.lastAt - b.counts.lastAt)
    if (oldest === undefined) return
    const { profile, token } = oldest.counts
    const byToken = byProfile.get(profile)
    byToken?.delete(token)
    if (byToken?.size === 0) byProfile.delete(profile)
  }
  return {
    all,
    of(profile: string, token: string | undefined): Line {
      const known = byProfile.get(profile)?.get(token)
      if (known !== undefined) return known
      if (all().length >= MAX_LINES) forgetOldest()
      const counts = emptyCounts(profile, token)
      const refused = new Map<string, number>()
      const line = { counts, refused, meter: createMeter(counts, refused, clock) }
      const byToken = byProfile.get(profile) ?? new Map<string | undefined, Line>()
      byProfile.set(profile, byToken.set(token, line))
      return line
    },
  }
}

const MAX_NOTES = 1_000

function createUseNotes(trail: Pick<Trail, 'done'>, clock: Clock) {
  const notes = new Map<string, number>()
  return (request: RequestHead, { caller }: Visitor, profile: string): void => {
    const name = `${caller.door} ${caller.token?.id ?? ''} ${profile}`
    const now = clock.monotonic()
    const last = notes.get(name)
    if (last !== undefined && now - last < HOUR_MS) return
    if (notes.size >= MAX_NOTES) notes.clear()
    notes.set(name, now)
    trail.done(request, caller, 'proxy', { profile })
  }
}

interface Tracked {
  readonly tokenId: string | undefined
  readonly open: { destroy(): unknown }
}

function createLive(tokens: Pick<Tokens, 'use'>, clock: Clock, everyMs: number): Live {
  const roll = createRoll<Tracked>()
  let timer: Timer | undefined
  let isStopped = false

  const look = () => {
    timer = undefined
    const verdicts = new Map<string, boolean>()
    for (const { tokenId, open } of roll.members()) {
      if (tokenId === undefined) continue
      const isGood = verdicts.get(tokenId) ?? tokens.use(tokenId)
      verdicts.set(tokenId, isGood)
      if (!isGood) open.destroy()
    }
    if (!roll.isEmpty()) arm()
  }
  const arm = () => {
    timer ??= clock.after(everyMs, look)
  }
  return {
    track(tokenId, open) {
      const leave = roll.enter({ tokenId, open })
      if (isStopped) open.destroy()
      else arm()
      return leave
    },
    stop() {
      isStopped = true
      timer?.cancel()
      for (const { open } of roll.members()) open.destroy()
    },
  }
}
