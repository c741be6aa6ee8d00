/** Policies: what there is, and what a caller wants for a token, checked by name against the table of operations. */

import { BrokerError } from '../base/errors.js'
import type { ApiServer } from '../http/schema.js'
import { createGround } from '../policy/ground.js'
import { parseOperation, parsePolicyName } from '../policy/names.js'
import { listOperations } from '../policy/operations.js'
import { describePolicies, POLICIES, type Policy } from '../policy/policy.js'
import { defined } from '../std/defined.js'
import { cleanText } from '../std/text.js'
import type { TokenLimits } from '../tokens/tokens.js'
import { POLICY_NAMES, type PolicyName } from '../wire/kinds.js'
import { policyList } from '../wire/policies.js'
import type { LimitsBody } from '../wire/tokens.js'
import type { RouteContext } from './context.js'

export function policyRoutes(api: ApiServer, _context: RouteContext): void {
  api.get(
    '/v1/policies',
    {
      config: { needs: 'inspect', summary: 'The policies of tokens, and every operation that they know' },
      schema: { response: { 200: policyList } },
    },
    async (_request, reply) =>
      reply.send({
        policies: describePolicies().map(({ name, sentence, effects, operations }) => ({
          ...{ name, sentence, effects: [...effects], operations: [...operations] },
          shows_secrets: POLICIES[name].showsSecrets,
        })),
        operations: listOperations().map(([operation, effect]) => ({ operation, effect })),
      }),
  )
}

/**
 * The limits that a body asks for; none for `all` with nothing denied. `proxyAllow`: operations that the owner adds to those
 * of the proxy. Throws `policy_unknown`, `operation_unknown`, `proxy_path_refused` for an operation that no policy can allow,
 * and `bad_request` for one that adds to everything.
 */
export function limitsOf(
  { may, allow = [], deny = [], ask, writes_per_hour, requests_per_minute }: LimitsBody,
  proxyAllow: readonly string[] = [],
): TokenLimits {
  const name = may === undefined ? 'all' : policyNamed(may)
  if (name === 'all' && allow.length > 0) {
    throw new BrokerError(
      'bad_request',
      "an operation was allowed in addition to the policy 'all', which includes every operation",
      {
        hint: 'prefect-auth token policies',
      },
    )
  }
  for (const operation of allow) requireForwarded(operation, proxyAllow)
  const policy: Policy = {
    may: name,
    ...defined({
      allow: namesOf(allow),
      deny: namesOf(deny),
      // All that `read` lets pass by itself reads: there would be nothing to ask about.
      beyond: name === 'read' && ask === 'write' ? ('asks' as const) : undefined,
    }),
  }
  const isLimited = name !== 'all' || policy.deny !== undefined
  const budget = defined({ writesPerHour: writes_per_hour, requestsPerMinute: requests_per_minute })
  return defined({
    policy: isLimited ? policy : undefined,
    ask,
    budget: Object.keys(budget).length > 0 ? budget : undefined,
  })
}

function namesOf(operations: readonly string[]): readonly string[] | undefined {
  return operations.length === 0 ? undefined : [...new Set(operations.map(operationNamed))]
}

function policyNamed(text: string): PolicyName {
  const found = parsePolicyName(text)
  if (found.kind === 'known') return found.name
  throw new BrokerError(
    'policy_unknown',
    `there is no policy '${cleanText(text, 50)}'${meant(found.nearest)}; the policies are ${POLICY_NAMES.join(', ')}`,
    { hint: 'prefect-auth token policies' },
  )
}

function operationNamed(text: string): string {
  const found = parseOperation(text)
  if (found.kind === 'known') return found.name
  throw new BrokerError(
    'operation_unknown',
    `there is no operation '${cleanText(text, 120)}'${meant(found.nearest)}`,
    { hint: 'prefect-auth token policies --operations' },
  )
}

function meant(nearest: readonly string[]): string {
  return nearest.length === 0 ? '' : ` (did you mean ${nearest.map((name) => `'${name}'`).join(', or ')}?)`
}

/** Any ids do: what counts is that they are the caller's own. */
const OWN = {
  accountId: '00000000-0000-4000-8000-000000000001',
  workspaceId: '00000000-0000-4000-8000-000000000002',
}
const BELOW = `/accounts/${OWN.accountId}/workspaces/${OWN.workspaceId}`

/** Throws `proxy_path_refused` if the ground floor lets nobody do this, at Prefect Cloud or at a server. */
function requireForwarded(text: string, proxyAllow: readonly string[]): void {
  const [method = '', template = ''] = text.trim().split(/\s+/)
  if (!template.startsWith('/')) return
  const path = template
    .replaceAll('{account}', OWN.accountId)
    .replaceAll('{workspace}', OWN.workspaceId)
    .replace(/\{[^}]*\}/g, 'x')
  const findFlaw = createGround(proxyAllow)
  const asked = method.toUpperCase()
  const cloud = { kind: 'cloud', workspaces: [OWN] } as const
  const outside = findFlaw(asked, path, cloud)
  // What names an account cannot be meant below a workspace.
  const inside = path.startsWith('/accounts/') ? outside : findFlaw(asked, `${BELOW}${path}`, cloud)
  const flaws = [inside, outside, findFlaw(asked, path, { kind: 'server' })]
  if (inside === undefined || flaws.includes(undefined)) return
  throw new BrokerError(
    'proxy_path_refused',
    `no policy can allow ${cleanText(text, 120)}: the proxy forwards it for nobody, because ${inside}`,
    { hint: 'prefect-auth token policies --operations' },
  )
}
