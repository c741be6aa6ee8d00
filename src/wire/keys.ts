/** Keys: list, create, delete, renew, rotate. Only the answer to a creation shows a key. */
import { z } from 'zod'
import { keyView, profileName, time } from './common.js'

/** For a key that Prefect lists and we do not hold, fingerprint and origin are unknown. */
const keyEntry = keyView.partial({ fingerprint: true, origin: true }).extend({
  profile: profileName,
  state: z.enum(['current', 'retired', 'at_prefect']).meta({
    description:
      'current: served; retired: replaced, may still work; at_prefect: created here or listed there, not held here',
  }),
  handed_out: z.boolean().optional(),
  retired_at: time.optional(),
  share: z
    .string()
    .optional()
    .meta({ description: 'the share of the profile: other machines have this key, too' }),
})
export type KeyEntry = z.infer<typeof keyEntry>

export const keyList = z.object({
  keys: z.array(keyEntry),
  notices: z.array(z.string()).meta({ description: 'what could not be listed, and why' }),
})
export type KeyList = z.infer<typeof keyList>
export const keysQuery = z.strictObject({ profile: profileName.optional() })

export const createKeyBody = z.strictObject({
  profile: profileName.optional(),
  name: z.string().min(1).max(200),
  expires_at: time.optional().meta({ description: 'absent: never expires' }),
})
/** The only answer that shows the key. */
export const createKeyAnswer = z.object({
  profile: profileName,
  id: z.string(),
  name: z.string(),
  key: z.string(),
  expires_at: time.optional(),
})

export const keyParams = z.strictObject({ id: z.string().min(1).max(100) })
export const deleteKeyQuery = z.strictObject({
  profile: profileName.optional(),
  sure: z.stringbool().optional().meta({
    description: 'true: delete it even if it may be a key in use whose id is not known',
  }),
})
export const deleteKeyAnswer = z.object({
  id: z.string(),
  outcome: z.enum(['deleted', 'already_gone', 'forgotten']).meta({
    description: "forgotten: a service account's, which lives on at Prefect until it expires",
  }),
})

const oldKeyView = z.object({
  fingerprint: z.string(),
  handed_out: z.boolean().meta({ description: 'true: a job may hold it, so it is left to expire' }),
  retired_at: time,
  expires_at: time.optional().meta({ description: 'absent: unknown' }),
})

export const renewalView = z.object({
  plan: z.enum(['scheduled', 'not_renewable', 'not_needed']),
  at: time.optional().meta({ description: 'when it is due, if scheduled' }),
  why: z.string().optional().meta({ description: 'why it is not scheduled' }),
  hint: z.string().optional(),
  last: z
    .object({
      at: time,
      outcome: z.enum(['done', 'failed']),
      code: z.string().optional(),
      message: z.string().optional(),
    })
    .optional(),
  trouble: z
    .object({ message: z.string(), hint: z.string() })
    .optional()
    .meta({ description: 'it is overdue and failing, or impossible and the key expires soon' }),
  old_keys: z.array(oldKeyView).meta({ description: 'replaced keys that may still work' }),
})
export type RenewalView = z.infer<typeof renewalView>

export const renewParams = z.strictObject({ profile: profileName })
export const renewBody = z.strictObject({
  if_due: z.boolean().default(false).meta({ description: 'true: only if it is due' }),
})
export type RenewBody = z.input<typeof renewBody>
export const renewAnswer = z.object({
  profile: profileName,
  outcome: z.enum(['renewed', 'not_due']),
  key: keyView,
})
export type RenewAnswer = z.infer<typeof renewAnswer>
