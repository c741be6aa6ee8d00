/** Things that go wrong on command: a test says which request and how, the server obeys. */

export interface FaultMatcher {
  readonly method?: string
  /** The exact path without its query, or a pattern. */
  readonly path?: string | RegExp
  /** Fingerprint of the presented key. */
  readonly key?: string
}

export type Fault =
  /** This answer instead; an object becomes JSON. The request is not processed. */
  | {
      readonly kind: 'status'
      readonly status: number
      readonly headers?: Readonly<Record<string, string>>
      readonly body?: unknown
    }
  /** A 200 page, as a captive portal or a company proxy gives. Not processed. */
  | { readonly kind: 'html'; readonly status?: number; readonly page?: string }
  /** Processed; the answer promises more bytes than come, then the connection dies. */
  | { readonly kind: 'half' }
  /** Processed; every value of the JSON answer has another type. */
  | { readonly kind: 'wrong_types' }
  /** Never answered, not processed; the connection stays open until either end closes. */
  | { readonly kind: 'silence' }
  /** Processed and answered after so many real ms, or after the promise. */
  | { readonly kind: 'delay'; readonly ms: number }
  | { readonly kind: 'hold'; readonly until: Promise<unknown> }
  /** The connection is reset: `before` nothing happened, `after` it did and only the answer is lost. */
  | { readonly kind: 'reset'; readonly when: 'before' | 'after' }
  /** Redirected, not processed. Default 307. */
  | { readonly kind: 'redirect'; readonly location: string; readonly status?: number }

/** One armed fault. */
interface ArmedFault {
  /** How often it has struck. */
  readonly struck: number
  disarm(): void
}

export interface Faults {
  /** Strikes the next `times` (default 1) requests that match. Faults strike in the order they were armed. */
  next(matcher: FaultMatcher, fault: Fault, times?: number): ArmedFault
  /** Strikes every request that matches until it is disarmed. */
  always(matcher: FaultMatcher, fault: Fault): ArmedFault
  clear(): void
}

/** What the server asks before it serves. */
export interface FaultSource {
  take(request: {
    readonly method: string
    readonly path: string
    readonly key: string | undefined
  }): Fault | undefined
}

/** Keeps the armed faults. */
export function createFaults(): Faults & FaultSource {
  const armed = new Set<{ matcher: FaultMatcher; fault: Fault; left: number; struck: number }>()

  const arm = (matcher: FaultMatcher, fault: Fault, times: number): ArmedFault => {
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
      return entry.fault
    },
  }
}

function matches(
  matcher: FaultMatcher,
  request: { readonly method: string; readonly path: string; readonly key: string | undefined },
): boolean {
  const { method, path, key } = matcher
  if (method !== undefined && method !== request.method) return false
  if (key !== undefined && key !== request.key) return false
  if (path === undefined) return true
  return typeof path === 'string' ? path === request.path : path.test(request.path)
}
