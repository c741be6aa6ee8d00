/** Policies of tokens, and the operations of Prefect's API that they are made of (`/v1/policies`). */
import { z } from 'zod'
import { EFFECTS, POLICY_NAMES } from './kinds.js'

const policyView = z.object({
  name: z.enum(POLICY_NAMES),
  sentence: z.string().meta({ description: 'what it includes, for people' }),
  effects: z.array(z.enum(EFFECTS)),
  shows_secrets: z.boolean().meta({ description: 'false: Secret blocks are never sent in the clear' }),
  operations: z
    .array(z.string())
    .meta({ description: 'what it includes; all also includes operations that prefect-auth does not know' }),
})
export type PolicyView = z.infer<typeof policyView>

export const policyList = z.object({
  policies: z.array(policyView),
  operations: z
    .array(z.object({ operation: z.string(), effect: z.enum(EFFECTS) }))
    .meta({ description: 'every operation that a policy can include, and that a token can allow or deny' }),
})
export type PolicyList = z.infer<typeof policyList>
