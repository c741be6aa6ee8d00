/** A request under the policy of its token: ruled, or refused in words that its owner understands. Pure. */

import { BrokerError } from '../base/errors.js'
import { type Policy, type Ruling, ruleOn } from '../policy/policy.js'
import { cleanText } from '../std/text.js'
import type { KnownToken } from '../tokens/tokens.js'
import type { Effect } from '../wire/kinds.js'

/**
 * Returns how the request is ruled; `undefined` for a token without a policy and without questions, for which nothing is
 * looked up. `path` has passed the ground floor. Throws `policy_refused`.
 */
export function requirePolicy(
  method: string,
  path: string,
  token: KnownToken | undefined,
): Ruling | undefined {
  if (token === undefined || (token.policy === undefined && token.ask === undefined)) return undefined
  const ruling = ruleOn(method, path, token.policy)
  if (ruling.mayPass) return ruling
  throw refused(token, ruling)
}

function refused(token: KnownToken, ruling: Ruling): BrokerError {
  const why = reasonOf(token.policy ?? { may: 'all' }, ruling)
  return new BrokerError(
    'policy_refused',
    `token '${cleanText(token.name, 60)}' may not ${ruling.operation}: ${why}`,
    { hint: `prefect-auth token show ${token.id}` },
  )
}

const DOES: Readonly<Record<Effect, string>> = {
  reads: 'reads',
  runs: 'starts or changes runs',
  works: 'does the work of runs',
  deploys: 'deploys',
  administers: 'administers',
}

function reasonOf({ may, deny = [] }: Policy, { operation, effect }: Ruling): string {
  if (deny.includes(operation)) return 'it was created with --deny for it'
  if (effect === undefined)
    return `only the policy 'all' includes what prefect-auth does not know, and its policy is '${may}'`
  return `that ${DOES[effect]}, which its policy '${may}' does not include`
}
