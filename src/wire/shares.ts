/** Shared keys: which there are, how each stands, and what may be done. No answer shows a key. */
import { z } from 'zod'
import { profileName, time } from './common.js'

export const shareParams = z.strictObject({ share: z.string().min(1).max(41) })

const seconds = z.number().int().min(1).max(315_360_000)

const trouble = z.object({ code: z.string(), message: z.string(), hint: z.string().optional() })

export const shareView = z.object({
  name: z.string(),
  where: z.string().meta({ description: 'the store and the path' }),
  rotate_with: profileName
    .optional()
    .meta({ description: 'whose key rotates; absent: this machine only reads' }),
  rotator: z.object({ role: z.string().optional(), problem: trouble.optional() }).optional().meta({
    description: 'the role of the owner of that key in the account, and why this machine will not rotate',
  }),
  profiles: z
    .array(profileName)
    .meta({ description: 'the profiles of this machine that are served the key' }),
  standing: z.string().meta({
    description: 'idle, unread, untold, waiting, astray, stale, foreign, second_owner, unverified, held_back',
  }),
  trouble: trouble.optional(),
  machine: z.string().optional().meta({ description: "this machine's name among the others" }),
  unpublished: z
    .number()
    .int()
    .optional()
    .meta({ description: 'keys that this machine has made and no other has yet' }),
  held_number: z.number().int().optional().meta({ description: 'the number of the key that is served here' }),
  document: z
    .object({
      number: z.number().int().meta({ description: 'counts the published keys' }),
      service_account: z.string(),
      key_id: z.string(),
      issued_at: time,
      expires_at: time.optional(),
      rotates_at: time.optional().meta({ description: 'when this machine rotates; absent: it does not' }),
      every_s: z.number(),
      overlap_s: z.number(),
      least_overlap_s: z.number().meta({ description: 'by the formula of docs/fleet.md' }),
      lifetime_s: z.number(),
      turn_of: z.string().optional().meta({ description: 'the machine that may be rotating' }),
      mint_by: time
        .optional()
        .meta({ description: 'after a lost answer: when the next rotation must have begun' }),
      foreign_keys: z.array(z.string()).meta({ description: 'ids of keys that nobody of the fleet made' }),
    })
    .optional(),
})
export type ShareView = z.infer<typeof shareView>

export const shareList = z.object({
  shares: z.array(shareView),
  secrets: z.array(z.string()).meta({ description: 'names of the secrets of stores in the vault' }),
})

export const shareSecretParams = z.strictObject({ secret: z.string().regex(/^[a-z0-9][a-z0-9_-]{0,40}$/) })
export const shareSecretBody = z.strictObject({ value: z.string().min(1).max(8000) })
export const shareSecretAnswer = z.object({ secret: z.string() })
export const removedSecretAnswer = z.object({
  secret: z.string(),
  outcome: z.enum(['removed', 'already_gone']),
})
export type ShareList = z.infer<typeof shareList>

export const initShareBody = z.strictObject({
  service_account: z.string().min(1).max(200),
  every_s: seconds
    .optional()
    .meta({ description: 'how often each machine reads the store; absent: a minute' }),
  overlap_s: seconds.optional().meta({ description: 'how long a replaced key lives; absent: a day' }),
  lifetime_s: seconds.optional().meta({ description: 'of rotated keys; absent: 30 days' }),
})
export type InitShareBody = z.input<typeof initShareBody>

export const probeShareBody = z.strictObject({
  service_account: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .meta({ description: 'one whose keys may be ended; absent: one is created, and deleted at the end' }),
})

export const probeAnswer = z.object({
  service_account: z.string(),
  accepted_after_s: z
    .number()
    .optional()
    .meta({ description: 'how late Prefect accepts a new key, at worst; absent: not within two minutes' }),
  listed_after_s: z
    .number()
    .optional()
    .meta({ description: 'how late its list names a new key, at worst; absent: not within two minutes' }),
  has_overlap: z.boolean().meta({ description: 'a replaced key works on for as long as was asked' }),
  older_keys: z.enum(['independent', 'one_previous']).meta({
    description: 'the keys before the replaced one live until their own end, or a second rotation ends them',
  }),
  ended_after_s: z
    .number()
    .optional()
    .meta({ description: 'one_previous: how late the older key was refused' }),
  is_left: z.boolean().meta({ description: 'the service account could not be deleted' }),
  left_over: z.array(z.string()).meta({ description: 'service accounts of earlier probes' }),
})
export type ProbeAnswer = z.infer<typeof probeAnswer>

export const shareProfileBody = z.strictObject({ profile: profileName })
export const adoptShareBody = z.strictObject({ api_key: z.string().min(1).max(400) })
