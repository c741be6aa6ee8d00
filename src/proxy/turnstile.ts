/** What a request of a token goes through last before it is sent: its budget, then the gate where questions wait. */
import type { RequestHead } from '../http/request.js'
import type { Trail } from '../http/trail.js'
import type { Tokens } from '../tokens/tokens.js'
import type { Visit } from './admission.js'
import type { ProxyBody } from './body.js'
import type { Gate, Pass } from './gate.js'
import { isWrite, policyRefused } from './ruling.js'

/**
 * Returns if the request may be sent; what was used up can be given back. Throws `budget_spent`, `policy_refused` for what only a
 * yes could let pass, and what the gate throws: a request that waits uses nothing up.
 */
export type Turnstile = (request: RequestHead, visit: Visit, body: ProxyBody) => Pass

export function createTurnstile({
  gate,
  tokens,
  trail,
}: {
  readonly gate: Gate
  readonly tokens: Pick<Tokens, 'spend'>
  readonly trail: Pick<Trail, 'done'>
}): Turnstile {
  return (request, visit, body) => {
    const { token, ruling } = visit
    // The owner's own, or of a token without limits.
    if (token === undefined || ruling === undefined) return askAt(gate, request, visit, body)
    const writes = isWrite(request.method ?? '', ruling, request.headers, body)
    const unspend = tokens.spend(token.id, writes)
    try {
      const pass = askAt(gate, request, visit, body)
      if (!ruling.mayPass && !pass.hasYes) throw policyRefused(token, ruling)
      return {
        hasYes: pass.hasYes,
        giveBack() {
          unspend()
          pass.giveBack()
        },
        sent() {
          // Without a budget nothing says how many lines there may be.
          if (!writes || token.budget?.writesPerHour === undefined) return
          const { profile } = visit.served
          trail.done(request, visit.caller, 'write', { profile, operation: ruling.operation })
        },
      }
    } catch (error) {
      unspend()
      throw error
    }
  }
}

const UNASKED: Pass = { hasYes: false, giveBack: () => undefined }

function askAt(gate: Gate, request: RequestHead, visit: Visit, body: ProxyBody): Pass {
  return gate.concerns(request, visit) ? gate.pass(request, visit, body) : UNASKED
}
