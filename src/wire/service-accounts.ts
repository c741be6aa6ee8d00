/** Service accounts: list, create, delete, and rotate their keys. No answer shows a key: it is kept for a profile. */
import { z } from 'zod'
import { keyView, profileName, time } from './common.js'

const accountName = z.string().min(1).max(200).meta({ description: "the service account's name" })
const user = profileName.meta({ description: "the profile that uses the service account's key" })
const asking = profileName
  .optional()
  .meta({ description: "whose key calls Prefect, an account Admin's; absent: the active profile" })

const rotation = {
  profile: user,
  owner_profile: asking,
  old_key_lives_s: z
    .number()
    .int()
    .min(0)
    .max(31_536_000)
    .optional()
    .meta({ description: 'how long the old key keeps working; absent: a day' }),
  expires_in_s: z
    .number()
    .int()
    .min(60)
    .max(315_360_000)
    .optional()
    .meta({ description: 'absent: as long as the previous key' }),
}

export const serviceAccountParams = z.strictObject({ account: z.string().min(1).max(200) })

const serviceAccountView = z.object({
  id: z.string(),
  name: z.string(),
  role: z.string().optional().meta({ description: 'in the account: Member' }),
  key: z
    .object({ id: z.string(), name: z.string(), issued_at: time.optional(), expires_at: time.optional() })
    .optional()
    .meta({ description: 'its newest key; expires_at absent: never expires' }),
  profiles: z.array(profileName).meta({ description: 'the profiles that are served this key' }),
})

export const serviceAccountsQuery = z.strictObject({ profile: profileName.optional() })
export const serviceAccountList = z.object({
  profile: profileName.meta({ description: 'whose key has asked' }),
  account_id: z.string(),
  service_accounts: z.array(serviceAccountView),
})
export type ServiceAccountList = z.infer<typeof serviceAccountList>

export const createServiceAccountBody = z.strictObject({
  profile: user,
  name: accountName,
  owner_profile: asking,
  expires_at: time.optional().meta({ description: 'absent: the key never expires' }),
  role: z.string().min(1).max(200).nullable().optional().meta({
    description: "its role in the profile's workspace; absent: Worker; null: the workspace is not shared",
  }),
})
export type CreateServiceAccountBody = z.input<typeof createServiceAccountBody>
export const createServiceAccountAnswer = z.object({
  profile: profileName,
  service_account: z.string(),
  key: keyView,
})

export const deleteServiceAccountQuery = z.strictObject({
  profile: profileName.optional(),
  sure: z.stringbool().optional().meta({
    description: 'true: delete it even if a profile may use its key, which cannot be told',
  }),
})
export const deleteServiceAccountAnswer = z.object({
  id: z.string(),
  name: z.string(),
  outcome: z.enum(['deleted', 'already_gone']),
})

export const rotateServiceAccountBody = z.strictObject(rotation)
/** Of the older route, which names the account in its body. */
export const rotateBotBody = z.strictObject({ ...rotation, name: accountName })
export type RotateBotBody = z.input<typeof rotateBotBody>
export const rotateBotAnswer = z.object({
  profile: profileName,
  service_account: z.string(),
  share: z.string().optional().meta({
    description: 'the profile uses this share: its machines rotate the key as soon as each has the last one',
  }),
  key: keyView.optional().meta({ description: 'the new one; absent with share' }),
  old_key_expires_at: time.optional(),
})
export type RotateBotAnswer = z.infer<typeof rotateBotAnswer>
