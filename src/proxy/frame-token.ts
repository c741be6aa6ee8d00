/** The first message of a WebSocket: `{"type":"auth","token":…}` with our token in it becomes one with the key. */
import { isBrokerError } from '../base/errors.js'
import { tokenInFrame } from '../prefect/proxied.js'
import { requireReach, type Visit, type Visitor } from './admit.js'
import type { Authorizer } from './authorization.js'
import type { ProxyDeps } from './deps.js'
import type { Verdict } from './frames.js'

/** Prefect's own word for it: 1008 is what its clients take for a refusal. */
const POLICY_VIOLATION = 1008
const TRY_AGAIN_LATER = 1013

export interface Judgement {
  readonly verdict: Verdict
  /** Who it turned out to be. */
  readonly visitor?: Visitor
}

export function judgeFirstMessage(
  text: string | undefined,
  visit: Visit,
  deps: ProxyDeps & { readonly authorizer: Authorizer },
): Judgement {
  const message = parseAuth(text)
  if (message === undefined) {
    if (!visit.isStranger) return { verdict: { kind: 'pass' }, visitor: visit }
    return { verdict: refuse("Expected 'auth' message") }
  }
  const visitor = visitorOf(message.token, visit, deps)
  if (visitor === undefined) return { verdict: refuse('Invalid token') }
  try {
    requireReach(visitor.caller, visit.target.profile)
    // Served anew: it may have been a while since the handshake.
    const token = deps.authorizer.frameToken(deps.credentials.serve(visit.target.profile))
    return { verdict: { kind: 'replace', text: JSON.stringify({ ...message.rest, token }) }, visitor }
  } catch (error) {
    if (!isBrokerError(error)) throw error
    const isForbidden = error.kind === 'denied'
    return { verdict: refuse(error.code, isForbidden ? POLICY_VIOLATION : TRY_AGAIN_LATER) }
  }
}

/** Without a token it is who showed one at the handshake, or the owner. */
function visitorOf(token: unknown, visit: Visit, { tokens }: ProxyDeps): Visitor | undefined {
  if (typeof token !== 'string') return visit.isStranger ? undefined : visit
  const text = tokenInFrame(token)
  const known = text === undefined ? undefined : tokens.recognise(text)
  if (known === undefined) return undefined
  return { caller: { door: visit.caller.door, token: known }, token: known, isStranger: false }
}

function refuse(reason: string, code = POLICY_VIOLATION): Verdict {
  return { kind: 'refuse', code, reason }
}

function parseAuth(
  text: string | undefined,
): { readonly token: unknown; readonly rest: Readonly<Record<string, unknown>> } | undefined {
  if (text === undefined) return undefined
  try {
    const message: unknown = JSON.parse(text)
    if (typeof message !== 'object' || message === null || !('type' in message)) return undefined
    if (message.type !== 'auth') return undefined
    return { token: 'token' in message ? message.token : undefined, rest: { ...message } }
  } catch {
    return undefined
  }
}
