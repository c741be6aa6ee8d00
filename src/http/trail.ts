/** Audit lines for requests: who got or changed what through which door, and who was refused. */
import type { IncomingHttpHeaders } from 'node:http'
import type { Audit, AuditAction, AuditEntry } from '../audit/audit.js'
import type { BrokerError, ErrorCode } from '../base/errors.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { Caller } from '../tokens/access.js'

/** Fastify's request, or Node's. */
type Request = { readonly headers: IncomingHttpHeaders }

type Facts = Pick<AuditEntry, 'profile' | 'fingerprint'>

export interface Trail {
  /** A secret left the daemon. */
  given(request: Request, caller: Caller, action: AuditAction, facts: Facts): void
  /** Something was changed. */
  done(request: Request, caller: Caller, action: AuditAction, facts?: Facts): void
  /** A caller was refused; other failures are ignored. Limited to a burst, then one line a second. */
  refused(request: Request, door: AuditEntry['door'], caller: Caller | undefined, error: BrokerError): void
}

const REFUSALS: ReadonlySet<ErrorCode> = new Set([
  'host_refused',
  'browser_refused',
  'token_required',
  'token_invalid',
  'power_missing',
  'profile_not_allowed',
  'proxy_path_refused',
])

// An attacker can cause any number of refusals.
const REFUSAL_BURST = 30
const REFUSAL_EVERY_MS = SECOND_MS

export function createTrail({ audit, clock, log }: { audit: Audit; clock: Clock; log: Log }): Trail {
  const mayNote = createBucket(clock)
  return {
    given: (request, caller, action, facts) =>
      audit.record({ action, outcome: 'given', ...whoOf(request, caller), ...facts }),
    done: (request, caller, action, facts = {}) =>
      audit.record({ action, outcome: 'done', ...whoOf(request, caller), ...facts }),
    refused(request, door, caller, { code }) {
      if (!REFUSALS.has(code) || !mayNote()) return
      audit.record({
        action: 'refused',
        outcome: 'refused',
        code,
        ...whoOf(request, caller ?? { door }),
        door,
      })
      log.warn({ code, door, token: caller?.token?.id ?? '' }, 'request refused')
    },
  }
}

function createBucket(clock: Clock): () => boolean {
  let tokens = REFUSAL_BURST
  let last = clock.monotonic()
  return () => {
    const now = clock.monotonic()
    tokens = Math.min(REFUSAL_BURST, tokens + (now - last) / REFUSAL_EVERY_MS)
    last = now
    if (tokens < 1) return false
    tokens -= 1
    return true
  }
}

function whoOf(
  request: Request,
  caller: { readonly door: AuditEntry['door']; readonly token?: Caller['token'] },
) {
  const agent = request.headers['user-agent']
  return {
    door: caller.door,
    ...defined({
      tokenId: caller.token?.id,
      tokenName: caller.token?.name,
      agent: agent === undefined ? undefined : printable(agent),
    }),
  }
}

function printable(agent: string): string {
  return agent.slice(0, 80).replace(/[^\x20-\x7e]/g, '?')
}
