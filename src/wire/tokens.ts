/** Tokens: created over the unix socket, shown once, stored as hashes. */
import { z } from 'zod'
import { profileName, time } from './common.js'

export const tokenPowers = ['inspect', 'proxy', 'use'] as const

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
})
export type CreateTokenBody = z.input<typeof createTokenBody>

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
})
export type TokenView = z.infer<typeof tokenView>
/** The only answer that shows the token. */
export const createTokenAnswer = tokenView.extend({ token: z.string() })
export const tokenList = z.object({ tokens: z.array(tokenView) })
export type TokenList = z.infer<typeof tokenList>
export const keepTokensBody = z.strictObject({
  id: z.string().min(1).max(64).optional(),
  all: z.literal(true).optional(),
})
export type KeepTokensBody = z.infer<typeof keepTokensBody>
export const tokenParams = z.strictObject({ id: z.string().min(1).max(64) })
