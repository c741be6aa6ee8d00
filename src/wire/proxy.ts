/** The proxy: the environment of a job that never holds the key, and what went through. */
import { z } from 'zod'
import { profileName, time } from './common.js'
import { envFormats } from './credentials.js'

export const proxyEnvBody = z.strictObject({
  profile: profileName.optional(),
  format: z.enum(envFormats).default('sh'),
  mode: z.literal('proxy'),
  name: z.string().min(1).max(100).meta({ description: 'what the token is called: the command of the job' }),
  pid: z
    .int()
    .min(1)
    .max(2 ** 31 - 1)
    .optional()
    .meta({ description: "the job's process: while it lives, so does an unused token, up to 14 days" }),
  no_proxy: z.string().max(4_000).optional().meta({ description: 'the NO_PROXY to extend' }),
})
export type ProxyEnvBody = z.input<typeof proxyEnvBody>

/** One profile and token name, since the daemon started. */
export const proxyTraffic = z.object({
  profile: profileName,
  token: z.string().optional().meta({ description: 'absent: the owner, over the unix socket' }),
  requests: z.number().int(),
  replays: z.number().int().meta({ description: 'sent a second time, with a newer key' }),
  parked: z
    .number()
    .int()
    .meta({ description: 'told to wait, because there was no valid key or no Prefect' }),
  bytes_up: z.number().int(),
  bytes_down: z.number().int(),
  sockets: z.number().int().meta({ description: 'open now' }),
  sockets_opened: z.number().int(),
  last_at: time,
})
export type ProxyTrafficView = z.infer<typeof proxyTraffic>
