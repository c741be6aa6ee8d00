/** Audit lines for requests: who got or changed what through which door, and who was refused. */
import type { IncomingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import type { Audit, AuditAction, AuditEntry } from '../audit/audit.js'
import type { BrokerError, ErrorCode } from '../base/errors.js'
import { type Clock, MINUTE_MS, SECOND_MS, type Timer } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { Caller } from '../tokens/access.js'
import { createCallers, QUESTIONS } from './callers.js'

/** Fastify's request, or Node's. */
type Request = { readonly headers: IncomingHttpHeaders; readonly socket?: Socket }

type Facts = Pick<AuditEntry, 'profile' | 'fingerprint' | 'aboutId' | 'aboutName' | 'operation'>

export interface Trail {
  /** A secret left the daemon. Of equal hand-outs the first is written at once, the rest of the minute as one counted line. */
  given(request: Request, caller: Caller, action: AuditAction, facts: Facts): void
  /** Something was changed. */
  done(request: Request, caller: Caller, action: AuditAction, facts?: Facts): void
  /** A caller was refused; other failures are ignored. A burst is written line by line, more as counted lines. */
  refused(request: Request, door: AuditEntry['door'], caller: Caller | undefined, error: BrokerError): void
  /** Writes the counts of the current minute. */
  close(): void
}

const REFUSALS: ReadonlySet<ErrorCode> = new Set([
  'host_refused',
  'browser_refused',
  'token_required',
  'token_invalid',
  'power_missing',
  'profile_not_allowed',
  'proxy_path_refused',
  'policy_refused',
  'budget_spent',
  'agent_refused',
  'ask_refused',
  'ask_answer_refused',
  'too_many_requests',
])

/** What callers may ask for as often as they like. */
const REPEATED: ReadonlySet<AuditAction> = new Set(['credentials', 'env'])

/** How many equal hand-outs a minute have a line of their own: each command of the owner is another program. */
const GIVEN_BURST = { token: 1, owner: 30 }
// An attacker can cause any number of refusals.
const REFUSALS_NOTED = { burst: 30, everyMs: SECOND_MS } as const

export function createTrail({
  audit,
  clock,
  log,
  findCaller = async () => undefined,
}: {
  readonly audit: Audit
  readonly clock: Clock
  readonly log: Log
  readonly findCaller?: (socket: Socket) => Promise<string | undefined>
}): Trail {
  const callers = createCallers(audit, findCaller, createBucket(clock, QUESTIONS))
  const write = (request: Request, entry: Countable, isUrgent = false) => {
    const conn = request.socket === undefined ? undefined : callers.note(request.socket)
    audit.record({ ...entry, ...defined({ conn }) }, { isUrgent })
  }
  const mayNote = createBucket(clock, REFUSALS_NOTED)
  const tally = createTally(audit, clock)
  return {
    given(request, caller, action, facts) {
      if (tally.countAgain(action, caller, facts)) return
      const entry = { action, outcome: 'given', ...whoOf(request, caller), ...facts } as const
      if (!REPEATED.has(action)) return write(request, entry, true)
      const burst = caller.token === undefined ? GIVEN_BURST.owner : GIVEN_BURST.token
      if (tally.count(entry, burst, { caller, facts })) write(request, entry, true)
    },
    done: (request, caller, action, facts = {}) =>
      write(request, { action, outcome: 'done', ...whoOf(request, caller), ...facts }),
    refused(request, door, caller, { code }) {
      if (!REFUSALS.has(code)) return
      const who = whoOf(request, caller ?? { door })
      const entry = { action: 'refused', outcome: 'refused', code, ...who, door } as const
      if (!mayNote()) return void tally.count(entry, 0)
      write(request, entry)
      log.warn({ code, door, token: caller?.token?.id ?? '' }, 'request refused')
    },
    close: () => tally.flush(),
  }
}

type Countable = Omit<AuditEntry, 'at' | 'count'>

interface Tally {
  readonly entry: Countable
  readonly burst: number
  seen: number
  /** Without a line of their own. */
  merged: number
}

/** What is equal in these is one thing done often. The agent is the caller's to choose, and does not count. */
function nameOf({ action, code, door, tokenId, aboutId, profile, fingerprint }: Countable): string {
  return JSON.stringify([action, code, door, tokenId, aboutId, profile, fingerprint])
}

/** With the facts, all that `nameOf` tells apart. */
function askerOf(action: AuditAction, { door, token }: Caller): string {
  return `${action} ${door} ${token?.id ?? ''}`
}

/** Counts what has no line of its own, and writes the counts once a minute: a kill loses a minute's counts, no more. */
function createTally(audit: Audit, clock: Clock) {
  let tallies = new Map<string, Tally>()
  // The same once more: whoever repeats a hand-out repeats its facts, the very same object.
  let repeated = new WeakMap<Facts, Map<string, Tally>>()
  let timer: Timer | undefined
  const flush = () => {
    timer?.cancel()
    timer = undefined
    const counted = tallies
    tallies = new Map()
    repeated = new WeakMap()
    for (const { entry, merged } of counted.values()) {
      if (merged > 0) audit.record({ ...entry, count: merged })
    }
  }
  return {
    flush,
    /** Counts what has been counted before, and has no line of its own any more. Returns false, with nothing done, for all else. */
    countAgain(action: AuditAction, caller: Caller, facts: Facts): boolean {
      const tally = repeated.get(facts)?.get(askerOf(action, caller))
      if (tally === undefined || tally.seen < tally.burst) return false
      tally.seen += 1
      tally.merged += 1
      return true
    },
    /** Returns true if this one is to have a line of its own. `again`: how `countAgain` is to know it. */
    count(
      entry: Countable,
      burst: number,
      again?: { readonly caller: Caller; readonly facts: Facts },
    ): boolean {
      const name = nameOf(entry)
      const tally = tallies.get(name) ?? { entry, burst, seen: 0, merged: 0 }
      tallies.set(name, tally)
      if (again !== undefined) {
        const known = repeated.get(again.facts) ?? new Map<string, Tally>()
        repeated.set(again.facts, known.set(askerOf(entry.action, again.caller), tally))
      }
      timer ??= clock.after(MINUTE_MS, flush)
      tally.seen += 1
      if (tally.seen <= burst) return true
      tally.merged += 1
      return false
    },
  }
}

function createBucket(
  clock: Clock,
  { burst, everyMs }: { readonly burst: number; readonly everyMs: number },
): () => boolean {
  let tokens = burst
  let last = clock.monotonic()
  return () => {
    const now = clock.monotonic()
    tokens = Math.min(burst, tokens + (now - last) / everyMs)
    last = now
    if (tokens < 1) return false
    tokens -= 1
    return true
  }
}

function whoOf(
  request: Request,
  caller: { readonly door: AuditEntry['door'] } & Pick<Caller, 'token' | 'inside'>,
) {
  const agent = request.headers['user-agent']
  return {
    door: caller.door,
    ...defined({
      tokenId: caller.token?.id,
      tokenName: caller.token?.name,
      aboutId: caller.inside?.id,
      aboutName: caller.inside?.name,
      agent: agent === undefined ? undefined : printable(agent),
    }),
  }
}

function printable(agent: string): string {
  return agent.slice(0, 80).replace(/[^\x20-\x7e]/g, '?')
}
