/** GET /v1/credentials and GET /v1/env: the pair itself. Secrets stand here. */
import { z } from 'zod'
import { keyView, owner, profileName, workspaceRef } from './common.js'

export const credentialsQuery = z.strictObject({ profile: profileName.optional() })

/** What a process needs in its environment; a name that is absent must be unset there. */
export const prefectEnv = z.object({
  PREFECT_API_URL: z.string().optional(),
  PREFECT_API_KEY: z.string().optional(),
  PREFECT_API_AUTH_STRING: z.string().optional(),
  PREFECT_CLOUD_API_URL: z.string().optional(),
  PREFECT_CLOUD_UI_URL: z.string().optional(),
})
export type PrefectEnv = z.infer<typeof prefectEnv>

export { ENV_NAMES } from './env-names.js'

export const credentials = z.object({
  profile: profileName,
  kind: z.enum(['cloud', 'server', 'none']),
  env: prefectEnv,
  workspace: workspaceRef.optional(),
  owner: owner.optional(),
  key: keyView.optional(),
  generation: z.number().int(),
  because: z.string(),
})
export type Credentials = z.infer<typeof credentials>

export const envFormats = ['sh', 'fish', 'powershell', 'dotenv', 'json'] as const
export type EnvFormat = (typeof envFormats)[number]

export const envQuery = z.strictObject({
  profile: profileName.optional(),
  format: z.enum(envFormats).default('sh'),
})
