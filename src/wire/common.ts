/** Shapes that several nouns share: times, names, owners, workspaces, keys, problems. */
import { z } from 'zod'
import { ERROR_KINDS, NEW_PROFILE_NAME } from './kinds.js'

/** RFC 3339, UTC, as `Date.prototype.toISOString` writes it. */
export const time = z.iso.datetime().meta({ description: 'RFC 3339, UTC' })

/** Any name that a profile can have in TOML; names that we create are narrower: `newProfileName`. */
export const profileName = z.string().min(1).max(200)

export const newProfileName = z
  .string()
  .regex(
    NEW_PROFILE_NAME,
    'letters, digits, "_", "-" and ".", at most 64 characters, starting with a letter or digit',
  )

export const owner = z.object({
  kind: z.enum(['user', 'service_account']),
  id: z.string().meta({ description: "the user's id; for a service account its account's id" }),
  handle: z.string(),
  email: z.string().optional(),
})
export type Owner = z.infer<typeof owner>

export const workspaceRef = z.object({
  handle: z.string().optional().meta({ description: 'account/workspace; absent until Prefect has told it' }),
  account_id: z.string(),
  workspace_id: z.string(),
})
export type WorkspaceRef = z.infer<typeof workspaceRef>

const keyOrigin = z.enum(['browser', 'pasted', 'minted', 'service_account', 'profile'])

/** A key as anyone may see it. */
export const keyView = z.object({
  fingerprint: z.string().meta({ description: 'sha256: and 12 hex digits of the key' }),
  origin: keyOrigin,
  id: z.string().optional().meta({ description: 'the id at Prefect, if known' }),
  name: z.string().optional(),
  issued_at: time.optional(),
  expires_at: time.optional(),
  expiry_assumed: z.boolean().optional().meta({ description: 'true: an assumption; Prefect has not said' }),
  renews_at: time.optional(),
})
export type KeyView = z.infer<typeof keyView>

export const empty = z.object({})

export const problem = z.object({
  type: z.string().meta({ description: 'urn:prefect-auth:CODE' }),
  title: z.string(),
  status: z.number().int(),
  detail: z.string(),
  code: z.string().meta({ description: 'one of docs/errors.md' }),
  kind: z.enum(ERROR_KINDS),
  hint: z.string().optional().meta({ description: 'what to do now: a command if possible' }),
})
export type Problem = z.infer<typeof problem>
