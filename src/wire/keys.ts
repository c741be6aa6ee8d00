/** Keys: those we know; create and delete at Prefect. */
import { z } from 'zod'
import { keyView, profileName, time } from './common.js'

/** A key that Prefect lists and we do not hold has no fingerprint and no origin that we could know. */
export const keyEntry = keyView.partial({ fingerprint: true, origin: true }).extend({
  profile: profileName,
  state: z.enum(['current', 'retired', 'at_prefect']).meta({
    description: 'current: served; retired: replaced, may live on; at_prefect: listed there, not held by us',
  }),
  handed_out: z.boolean().optional(),
  retired_at: time.optional(),
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
/** The one answer that shows the key. */
export const createKeyAnswer = z.object({
  profile: profileName,
  id: z.string(),
  name: z.string(),
  key: z.string(),
  expires_at: time.optional(),
})
export type CreateKeyAnswer = z.infer<typeof createKeyAnswer>

export const keyParams = z.strictObject({ id: z.string().min(1).max(100) })
export const deleteKeyQuery = z.strictObject({ profile: profileName.optional() })
export const deleteKeyAnswer = z.object({ id: z.string(), outcome: z.enum(['deleted', 'already_gone']) })
export type DeleteKeyAnswer = z.infer<typeof deleteKeyAnswer>
