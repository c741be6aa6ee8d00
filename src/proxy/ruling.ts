/** A request under the policy of its token: ruled, or refused in words that its owner understands. Pure. */

import { BrokerError } from '../base/errors.js'
import { type BodyHeaders, readJson } from '../policy/body.js'
import { changesOf, isMoreThanBookkeeping, isObject } from '../policy/changes.js'
import { refuseTemplates, takesJobVariables } from '../policy/job-variables.js'
import { type Policy, type Ruling, ruleOn } from '../policy/policy.js'
import { hideInBody, hideInQuery, takesSecretsInBody, tooLargeToRead } from '../policy/secrets.js'
import type { ProxyTarget } from '../prefect/proxied.js'
import { cleanText } from '../std/text.js'
import type { KnownToken } from '../tokens/tokens.js'
import type { Effect } from '../wire/kinds.js'
import type { ProxyBody } from './body.js'

/**
 * Returns how the request is ruled; `undefined` for a token without limits, for which nothing is looked up. `path` has passed
 * the ground floor. Throws `policy_refused`, unless a yes may let the request pass.
 */
export function requirePolicy(
  method: string,
  path: string,
  token: KnownToken | undefined,
): Ruling | undefined {
  if (token === undefined) return undefined
  const { policy, ask, budget } = token
  if (policy === undefined && ask === undefined && budget === undefined) return undefined
  const ruling = ruleOn(method, path, policy)
  if (ruling.mayPass || ruling.needsYes) return ruling
  throw policyRefused(token, ruling)
}

export function policyRefused(token: KnownToken, ruling: Ruling): BrokerError {
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

/** Where the request goes; no Secret block is asked for if the policy hides them. Throws `bad_request`. */
export function targetUnder({ hidesSecrets }: Ruling, target: ProxyTarget): ProxyTarget {
  return hidesSecrets ? { ...target, query: hideInQuery(target.query) } : target
}

/** Whether the body has to be read whole, however large it is. */
export function mustReadWhole(
  method = '',
  { ruling, token }: { readonly ruling?: Ruling | undefined; readonly token?: KnownToken | undefined },
): boolean {
  if (ruling === undefined) return false
  if (ruling.hidesSecrets && takesJobVariables(ruling.operation)) return true
  return token?.budget?.writesPerHour !== undefined && changesOf({ method, ...ruling }) === 'by body'
}

/** Whether the request is a write, of which a budget allows so many an hour. */
export function isWrite(
  method: string,
  ruling: Ruling | undefined,
  headers: BodyHeaders,
  body: ProxyBody,
): boolean {
  if (ruling === undefined) return false
  const changes = changesOf({ method, ...ruling })
  if (changes !== 'by body') return changes === 'yes'
  const read = body.kind === 'whole' ? readJson(body.bytes, headers) : undefined
  const members = read?.kind === 'json' && isObject(read.value) ? read.value : undefined
  return isMoreThanBookkeeping(ruling.operation, members)
}

/** What is sent there, likewise. Throws `bad_request`, also for a body that cannot be looked at as a whole. */
export function bodyUnder(
  ruling: Ruling | undefined,
  path: string,
  headers: BodyHeaders,
  body: ProxyBody,
): ProxyBody {
  if (ruling?.hidesSecrets !== true || body.kind === 'none') return body
  const hasJobVariables = takesJobVariables(ruling.operation)
  if (!hasJobVariables && !takesSecretsInBody(path)) return body
  if (body.kind === 'stream') throw tooLargeToRead()
  if (!hasJobVariables) return { kind: 'whole', bytes: Buffer.from(hideInBody(body.bytes, headers)) }
  refuseTemplates(body.bytes, headers)
  return body
}
