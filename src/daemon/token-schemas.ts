/** What `tokens.json` holds of a token: its schema, strict about what limits it. */

import { z } from 'zod'
import { ASK_MODES, POLICY_NAMES } from '../wire/kinds.js'
import { at, maybe, text } from './schema-parts.js'

// Strict, as the words are: a limit that this version cannot enforce sets the token aside, and never widens it.
const policy = z.strictObject({
  may: z.enum(POLICY_NAMES),
  allow: z.array(text).exactOptional(),
  deny: z.array(text).exactOptional(),
  beyond: z.literal('asks').exactOptional(),
})

const budget = z.strictObject({
  writesPerHour: z.int().min(1).exactOptional(),
  requestsPerMinute: z.int().min(1).exactOptional(),
})

const refusedOperation = z.object({
  operation: text,
  count: z.int().min(0),
  at,
  by: z.enum(['policy', 'budget', 'proxy']),
})

const tokenFields = z.looseObject({
  id: text,
  name: text,
  power: z.enum(['inspect', 'proxy', 'use', 'limited']),
  profiles: z.array(text),
  createdAt: at,
  expiresAt: at,
  hash: z.string().length(64),
  ticketHash: z.string().length(64).exactOptional(),
  workspace: z.object({ accountId: text, workspaceId: text }).exactOptional(),
  parkedAt: at.exactOptional(),
  environment: text.exactOptional(),
  job: z
    .object({
      pid: z.number().exactOptional(),
      process: maybe,
      idleMs: at,
      isAgent: z.literal(true).exactOptional(),
    })
    .exactOptional(),
  policy: policy.exactOptional(),
  ask: z.enum(ASK_MODES).exactOptional(),
  budget: budget.exactOptional(),
  // A count that is lost begins again.
  writes: z
    .array(z.object({ at, count: z.int().min(1) }))
    .catch([])
    .exactOptional(),
  // What was refused is worth less than the token.
  refused: z.array(refusedOperation).catch([]).exactOptional(),
})

/** Limits and the power `limited` go together: one without the other would be a token that means too much. */
export const tokenRecord = tokenFields.refine(
  ({ power, policy, ask, budget }) =>
    (power === 'limited') === (policy !== undefined || ask !== undefined || budget !== undefined),
)
