/** Faults on demand: a test says which requests fail, and how. */

export interface FaultMatcher {
  readonly method?: string
  /** The exact path without its query, or a pattern. */
  readonly path?: string | RegExp
  /** Fingerprint of the presented key. */
  readonly key?: string
}

export type Fault =
  /** Sends this response instead; an object becomes JSON. The request is not processed. */
  | {
      readonly kind: 'status'
      readonly status: number
      readonly headers?: Readonly<Record<string, string>>
      readonly body?: unknown
    }
  /** A 200 page, as from a captive portal or a company proxy. Not processed. */
  | { readonly kind: 'html'; readonly status?: number; readonly page?: string }
  /** Processed; the response is shorter than its Content-Length, then the connection closes. */
  | { readonly kind: 'half' }
  /** Processed; every value in the JSON response has a different type. */
  | { readonly kind: 'wrong_types' }
  /** No response, not processed; the connection stays open until either end closes it. */
  | { readonly kind: 'silence' }
  /** Processed and answered after this many real ms, or once the promise resolves. */
  | { readonly kind: 'delay'; readonly ms: number }
  | { readonly kind: 'hold'; readonly until: Promise<unknown> }
  /** The connection is reset, `before` the request is processed or `after` (only the response is lost). */
  | { readonly kind: 'reset'; readonly when: 'before' | 'after' }
  /** Redirected, not processed. Default 307. */
  | { readonly kind: 'redirect'; readonly location: string; readonly status?: number }

/** A request as faults see it. */
export interface Struck {
  readonly method: string
  readonly path: string
  /** Fingerprint of the presented key. */
  readonly key: string | undefined
}

/** Decided when the request comes, before it is processed; `undefined`: it is answered as usual. */
type FaultOfRequest = (request: Struck) => Fault | undefined

/** An armed fault. */
interface ArmedFault {
  /** How many times it has struck. */
  readonly struck: number
  disarm(): void
}

export interface Faults {
  /** Strikes the next `times` (default 1) requests that match. Faults strike in the order they were armed. */
  next(matcher: FaultMatcher, fault: Fault | FaultOfRequest, times?: number): ArmedFault
  /** Strikes every request that matches until it is disarmed. */
  always(matcher: FaultMatcher, fault: Fault | FaultOfRequest): ArmedFault
  clear(): void
}

/** What the server consults for each request. */
export interface FaultSource {
  take(request: Struck): Fault | undefined
}

/** Keeps the armed faults. */
export function createFaults(): Faults & FaultSource {
  const armed = new Set<{
    matcher: FaultMatcher
    fault: Fault | FaultOfRequest
    left: number
    struck: number
  }>()

  const arm = (matcher: FaultMatcher, fault: Fault | FaultOfRequest, times: number): ArmedFault => {
    const entry = { matcher, fault, left: times, struck: 0 }
    armed.add(entry)
    return {
      get struck() {
        return entry.struck
      },
      disarm: () => {
        armed.delete(entry)
      },
    }
  }
  return {
    next: (matcher, fault, times = 1) => arm(matcher, fault, times),
    always: (matcher, fault) => arm(matcher, fault, Number.POSITIVE_INFINITY),
    clear: () => armed.clear(),
    take(request) {
      const entry = [...armed].find(({ matcher }) => matches(matcher, request))
      if (entry === undefined) return undefined
      entry.struck += 1
      entry.left -= 1
      if (entry.left <= 0) armed.delete(entry)
      return typeof entry.fault === 'function' ? entry.fault(request) : entry.fault
    },
  }
}

function matches(matcher: FaultMatcher, request: Struck): boolean {
  const { method, path, key } = matcher
  if (method !== undefined && method !== request.method) return false
  if (key !== undefined && key !== request.key) return false
  if (path === undefined) return true
  return typeof path === 'string' ? path === request.path : path.test(request.path)
}
