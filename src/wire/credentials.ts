/** Credentials and variables (`/v1/credentials`, `/v1/env`), with secrets in them; proxy traffic. */
import { z } from 'zod'
import { keyView, owner, profileName, time, workspaceRef } from './common.js'
import { ENV_FORMATS } from './kinds.js'
import { limitFields } from './tokens.js'

export const credentialsQuery = z.strictObject({ profile: profileName.optional() })

/** The pair itself; `GET /v1/env` adds what a process needs so that no other source fills the gaps. */
const prefectEnv = z.object({
  PREFECT_API_URL: z.string().optional(),
  PREFECT_API_KEY: z.string().optional(),
  PREFECT_API_AUTH_STRING: z.string().optional(),
  PREFECT_CLOUD_API_URL: z.string().optional(),
  PREFECT_CLOUD_UI_URL: z.string().optional(),
})
export type PrefectEnv = z.infer<typeof prefectEnv>

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
  in_file: z.boolean().optional().meta({
    description:
      "the profile is in the caller's profile file, or built into Prefect, so PREFECT_PROFILE can name it",
  }),
  notes: z
    .array(z.string())
    .optional()
    .meta({ description: 'settings of the profile that a client obeys beside this pair or in place of it' }),
})
export type Credentials = z.infer<typeof credentials>

export const envQuery = z.strictObject({
  profile: profileName.optional(),
  format: z.enum(ENV_FORMATS).default('sh'),
  follow: z.stringbool().optional().meta({
    description: 'true: also PREFECT_AUTH_PROFILE, _WORKSPACE, _EXPIRES and _SET, for a shell that follows',
  }),
  allow_none: z.stringbool().optional().meta({ description: 'true: without a pair, the variables of none' }),
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
  agent: z.literal(true).optional().meta({
    description:
      "the job is an agent: while it runs, the owner's socket refuses the powers use, proxy and admin to what comes from inside of it, if the system tells which programs connect; the answer in JSON says so",
  }),
  environment: z.string().min(1).max(1_000).startsWith('/').optional().meta({
    description:
      'the Python environment of the process: all of its processes get the same token, until it is revoked or unused for 14 days',
  }),
  no_proxy: z.string().max(4_000).optional().meta({ description: 'the NO_PROXY to extend' }),
  no_proxy_small: z
    .string()
    .max(4_000)
    .optional()
    .meta({ description: 'the no_proxy to extend, if it is another' }),
  ui_url: z
    .string()
    .max(2_000)
    .optional()
    .meta({ description: 'the PREFECT_UI_URL of the caller, which stays' }),
  custom_headers: z
    .string()
    .max(8_000)
    .optional()
    .meta({ description: 'the PREFECT_CLIENT_CUSTOM_HEADERS of the job, if an Authorization is among them' }),
  secrets: z
    .strictObject({
      PREFECT_API_KEY: z.string().max(4_000).optional(),
      PREFECT_API_AUTH_STRING: z.string().max(4_000).optional(),
    })
    .optional()
    .meta({ description: 'what the caller has in its environment: the answer says which of it is ours' }),
  headers_in_files: z.array(z.string().max(100)).max(20).optional().meta({
    description: 'names of custom headers in files of its directory that take the place of the token',
  }),
  ...limitFields,
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
      description:
        "operations that were not forwarded, the newest first; by the list of the proxy, or by the token's policy",
    }),
})
export type ProxyTrafficView = z.infer<typeof proxyTraffic>
