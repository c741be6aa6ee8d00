/** Links to the page and the sessions they open: one use each, and a second use is an alarm. Pure. */
import type { Peer } from '../os/peer.js'
import { type Clock, MINUTE_MS } from '../std/clock.js'
import { Secret, sha256Hex } from '../std/secret.js'

/** How long a link waits for its one use. */
export const LINK_MS = MINUTE_MS
/** Links and sessions at a time; beyond it, the oldest end. */
const MAX_SESSIONS = 8

export type Swap =
  | { readonly kind: 'opened'; readonly bearer: Secret }
  /** Never made, too old, or long forgotten. */
  | { readonly kind: 'unknown' }
  /** Somebody else has used it: what it opened has ended. */
  | { readonly kind: 'used' }

/** What a link has opened. */
export interface PageSession {
  isOver(): boolean
  /** Who asked for the link, as far as the system tells. */
  readonly maker: Peer | undefined
  /** By the monotonic clock. */
  readonly openedAt: number
}

export interface PageSessions {
  /** Makes a link. `secret` is 43 characters of base64url; `expiresAt` is epoch ms. */
  link(maker?: Peer): { readonly secret: Secret; readonly expiresAt: number }
  /** Uses a link. The second use of one ends the session that the first began. */
  swap(presented: string): Swap
  /** The session with this bearer; `undefined` if there is none, or it is over. */
  find(bearer: string): PageSession | undefined
  /** Ends all links and sessions. */
  end(): void
}

interface Line {
  readonly linkHash: string
  readonly madeAt: number
  /** By the wall clock: a laptop may sleep while a link waits. */
  readonly madeAtWall: number
  readonly maker: Peer | undefined
  openedAt: number
  /** Absent: not used yet. */
  bearerHash?: string
  /** Used twice. */
  isBurnt?: boolean
}

/** `randomToken`: 32 random bytes as 43 characters of base64url. */
export function createPageSessions({
  clock,
  randomToken,
}: {
  readonly clock: Clock
  readonly randomToken: () => string
}): PageSessions {
  // In the order in which they were made. Hashes only: whoever reads the memory later finds no secret.
  let lines: Line[] = []
  return {
    link(maker) {
      const text = randomToken()
      const madeAt = clock.monotonic()
      const line = { linkHash: sha256Hex(text), madeAt, madeAtWall: clock.now(), maker, openedAt: madeAt }
      lines = [...lines.slice(-(MAX_SESSIONS - 1)), line]
      return { secret: new Secret(text), expiresAt: clock.now() + LINK_MS }
    },
    swap(presented) {
      const hash = sha256Hex(presented)
      const line = lines.find(({ linkHash }) => linkHash === hash)
      if (line === undefined) return { kind: 'unknown' }
      if (line.bearerHash !== undefined || line.isBurnt === true) {
        line.isBurnt = true
        delete line.bearerHash
        return { kind: 'used' }
      }
      const { madeAt, madeAtWall } = line
      const isLate = clock.monotonic() - madeAt > LINK_MS || clock.now() - madeAtWall > LINK_MS
      if (isLate) return { kind: 'unknown' }
      const text = randomToken()
      line.bearerHash = sha256Hex(text)
      line.openedAt = clock.monotonic()
      return { kind: 'opened', bearer: new Secret(text) }
    },
    find(bearer) {
      const hash = sha256Hex(bearer)
      const line = lines.find(({ bearerHash }) => bearerHash === hash)
      if (line === undefined) return undefined
      const { maker, openedAt } = line
      return { isOver: () => line.bearerHash === undefined || !lines.includes(line), maker, openedAt }
    },
    end() {
      lines = []
    },
  }
}
