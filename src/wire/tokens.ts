/** Tokens: created over the unix socket, shown once, stored as hashes. */
import { z } from 'zod'
import { profileName, time } from './common.js'
import { ASK_MODES, EFFECTS, MOST_IN_BUDGET, POLICY_NAMES } from './kinds.js'

export const tokenPowers = ['inspect', 'proxy', 'use'] as const

const inBudget = z.int().min(1).max(MOST_IN_BUDGET).optional()
const operations = z.array(z.string().min(1).max(300)).max(100)

/** How a `proxy` token is narrowed, as callers ask for it. Names are looked up by the route, which names the nearest. */
export const limitFields = {
  may: z
    .string()
    .max(50)
    .optional()
    .meta({ enum: [...POLICY_NAMES], description: 'the policy; absent: all' }),
  allow: operations.optional().meta({
    description: "operations that the policy lacks, such as 'POST /deployments/{id}/create_flow_run'",
  }),
  deny: operations.optional().meta({ description: 'operations that it loses; counts before allow' }),
  ask: z.enum(ASK_MODES).optional().meta({
    description:
      "which requests wait for your yes; absent: none. With the policy 'read', what changes something waits instead of being refused",
  }),
  writes_per_hour: inBudget.meta({
    description: 'how many requests that ask=write would ask about, in any hour',
  }),
  requests_per_minute: inBudget.meta({ description: 'how many requests, in any minute' }),
}
const limitsBody = z.strictObject(limitFields)
export type LimitsBody = z.infer<typeof limitsBody>

export const createTokenBody = z.strictObject({
  name: z.string().min(1).max(100),
  power: z.enum(tokenPowers).default('proxy'),
  profiles: z
    .array(profileName)
    .min(1)
    .max(50)
    .optional()
    .meta({ description: 'absent: the active profile; "*": all' }),
  expires_in: z.string().max(20).default('8h').meta({ description: 'such as 30m, 8h or 7d; at most 365d' }),
  ...limitFields,
})
export type CreateTokenBody = z.input<typeof createTokenBody>

const refusedOperation = z.object({
  operation: z.string(),
  count: z.number().int(),
  last_at: time,
  by: z.enum(['policy', 'budget', 'proxy']).meta({
    description:
      "policy: the token's own; budget: too many in a while; proxy: no token may, unless proxy.allow adds it",
  }),
  effect: z
    .enum(EFFECTS)
    .optional()
    .meta({ description: 'what it does; absent: prefect-auth does not know this operation' }),
  allowed_by: z
    .enum(POLICY_NAMES)
    .optional()
    .meta({ description: 'the narrowest policy that includes it; absent if no policy can allow it' }),
})
export type RefusedOperationView = z.infer<typeof refusedOperation>

const tokenView = z.object({
  id: z.string(),
  name: z.string(),
  power: z.enum(tokenPowers),
  profiles: z.array(z.string()),
  created_at: time,
  expires_at: time,
  last_used_at: time.optional(),
  parked_at: time.optional().meta({
    description:
      'another user was found on our TCP port, and may have it: refused until it is kept or revoked',
  }),
  may: z.enum(POLICY_NAMES).optional().meta({ description: 'its policy; absent: none, as with all' }),
  allow: z.array(z.string()).optional(),
  deny: z.array(z.string()).optional(),
  ask: z.enum(ASK_MODES).optional(),
  writes_per_hour: z.number().int().optional(),
  requests_per_minute: z.number().int().optional(),
  writes_last_hour: z.number().int().optional().meta({ description: 'of its budget; absent without one' }),
  requests_last_minute: z.number().int().optional(),
  agent: z.literal(true).optional().meta({
    description: "made by agent run: the owner's socket refuses programs from inside of it",
  }),
  refused: z.array(refusedOperation).optional().meta({
    description: 'operations that were not forwarded, the newest first; a crash loses the last minutes',
  }),
})
export type TokenView = z.infer<typeof tokenView>
/** The only answer that shows the token. */
export const createTokenAnswer = tokenView.extend({ token: z.string() })
/** One token, and what its policy comes to. */
export const tokenAnswer = tokenView.extend({
  sentence: z.string().optional().meta({ description: 'what its policy is, for people' }),
  operations: z
    .array(z.string())
    .optional()
    .meta({ description: 'everything that its policy includes; absent without a policy, and for all' }),
})
export type TokenAnswer = z.infer<typeof tokenAnswer>
export const tokenList = z.object({ tokens: z.array(tokenView) })
export type TokenList = z.infer<typeof tokenList>
export const keepTokensBody = z.strictObject({
  id: z.string().min(1).max(64).optional(),
  all: z.literal(true).optional(),
})
export type KeepTokensBody = z.infer<typeof keepTokensBody>
export const tokenParams = z.strictObject({ id: z.string().min(1).max(64) })
export const tokenLookup = z.strictObject({ id: z.string().min(1).max(100) })
