/** Credentials and variables (`/v1/credentials`, `/v1/env`), with secrets in them; proxy traffic. */
import { z } from 'zod'
import { keyView, owner, profileName, time, workspaceRef } from './common.js'
import { ENV_FORMATS } from './kinds.js'

export const credentialsQuery = z.strictObject({ profile: profileName.optional() })

/** What a process needs in its environment; an absent name must be unset there. */
const prefectEnv = z.object({
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
  state: z
    .literal('doubted')
    .optional()
    .meta({ description: 'Prefect has begun to refuse the key; it is asked again. Absent: all is well' }),
  generation: z.number().int(),
  because: z.string(),
})
export type Credentials = z.infer<typeof credentials>

export const envQuery = z.strictObject({
  profile: profileName.optional(),
  format: z.enum(ENV_FORMATS).default('sh'),
})

export const proxyEnvBody = z.strictObject({
  profile: profileName.optional(),
  format: z.enum(ENV_FORMATS).default('sh'),
  mode: z.literal('proxy'),
  name: z.string().min(1).max(100).meta({ description: "the token's name: the command of the job" }),
  pid: z
    .int()
    .min(1)
    .max(2 ** 31 - 1)
    .optional()
    .meta({ description: "the job's process: while it runs, an unused token stays active, up to 14 days" }),
  no_proxy: z.string().max(4_000).optional().meta({ description: 'the NO_PROXY to extend' }),
})

/** Proxy traffic of one profile and token name since the daemon started. */
export const proxyTraffic = z.object({
  profile: profileName,
  token: z.string().optional().meta({ description: 'absent: the owner, over the unix socket' }),
  requests: z.number().int(),
  replays: z.number().int().meta({ description: 'sent a second time, after a 401 or on a new connection' }),
  parked: z
    .number()
    .int()
    .meta({ description: 'answered with 503 because there was no valid key or no Prefect' }),
  bytes_up: z.number().int(),
  bytes_down: z.number().int(),
  sockets: z.number().int().meta({ description: 'open now' }),
  sockets_opened: z.number().int(),
  last_at: time,
  refused: z
    .array(z.object({ operation: z.string(), count: z.number().int() }))
    .optional()
    .meta({
      description: 'operations that were not forwarded, the newest first; `proxy.allow` can add them',
    }),
})
export type ProxyTrafficView = z.infer<typeof proxyTraffic>
