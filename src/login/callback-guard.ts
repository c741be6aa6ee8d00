/** Pure: which requests to a login's port may be a delivery at all. Everything else is refused before it is routed. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

/** What a request says before its body. */
interface CallbackHead {
  readonly method: string
  /** The request target as it came. */
  readonly target: string
  /** Every `Host` header there was. */
  readonly hosts: readonly string[]
  readonly headers: IncomingHttpHeaders
}

export interface CallbackRules {
  /** `localhost:PORT` and its two addresses; empty until the port is bound. */
  readonly hosts: ReadonlySet<string>
  readonly uiOrigin: string
  /** The path's first segment, where the login has one. */
  readonly state?: string
}

interface Refusal {
  readonly status: number
  /** One of our own words: text of the request never goes into a log. */
  readonly why: string
}

/** Why the request is refused, or `undefined`. */
export function refuseCallback(head: CallbackHead, rules: CallbackRules): Refusal | undefined {
  const [host, ...others] = head.hosts
  // DNS rebinding, HTTP/1.0 and two Hosts: only the name in our own URL may have led here.
  if (host === undefined || others.length > 0 || !rules.hosts.has(host)) return { status: 421, why: 'host' }
  if (!head.target.startsWith('/')) return { status: 400, why: 'target' }
  if (head.headers.upgrade !== undefined) return { status: 400, why: 'upgrade' }
  // Speculation rules reach loopback from any page, and no person has seen that navigation.
  if (head.headers['sec-purpose'] !== undefined || head.headers.purpose !== undefined) {
    return { status: 403, why: 'speculation' }
  }
  return refuseMethod(head, rules) ?? refusePath(head.target, rules.state)
}

function refuseMethod({ method, headers }: CallbackHead, { uiOrigin }: CallbackRules): Refusal | undefined {
  switch (method) {
    case 'GET': {
      // A top-level navigation has no Origin; a script's or a frame's request is told by the fetch metadata.
      const { 'sec-fetch-mode': mode = 'navigate', 'sec-fetch-dest': dest = 'document' } = headers
      if (headers.origin !== undefined) return { status: 403, why: 'origin' }
      return mode === 'navigate' && dest === 'document' ? undefined : { status: 403, why: 'not a navigation' }
    }
    case 'POST':
      // The exact string: `null` (sandboxed frames, files) and no Origin at all are not the UI.
      return headers.origin === uiOrigin ? undefined : { status: 403, why: 'origin' }
    case 'OPTIONS':
      if (headers.origin !== uiOrigin) return { status: 403, why: 'origin' }
      return headers['access-control-request-method'] === 'POST'
        ? undefined
        : { status: 400, why: 'preflight' }
    default:
      return { status: 405, why: 'method' }
  }
}

function refusePath(target: string, state: string | undefined): Refusal | undefined {
  if (state === undefined) return undefined
  const [, segment = ''] = /^\/([^/?]*)/.exec(target) ?? []
  return isSame(segment, state) ? undefined : { status: 404, why: 'state' }
}

/** In constant time: how long a wrong guess took must not tell how much of it was right. */
function isSame(one: string, other: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(one), digest(other))
}
