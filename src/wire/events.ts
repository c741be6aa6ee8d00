/** Events (the `data:` of Server-Sent Events) and audit entries. No secrets in either. */
import { z } from 'zod'
import { profileName, time } from './common.js'

export const event = z.object({
  id: z.string().meta({ description: 'value for Last-Event-ID: epoch-number' }),
  at: time,
  type: z.string(),
  profile: profileName.optional(),
  facts: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.array(z.string())])),
})
export type Event = z.infer<typeof event>

const auditEntry = z.object({
  at: time,
  action: z
    .string()
    .meta({ description: 'credentials, env, key_created, token_created, login, logout, adopt, …' }),
  outcome: z.enum(['given', 'refused', 'done']),
  door: z.enum(['socket', 'restricted', 'tcp', 'page', 'daemon']),
  profile: profileName.optional(),
  fingerprint: z.string().optional(),
  token: z.string().optional().meta({ description: 'id of the token used' }),
  token_name: z.string().optional(),
  about: z.string().optional().meta({
    description:
      'id of the token that was made, revoked or asked about, or from inside of whose agent it came',
  }),
  about_name: z.string().optional(),
  operation: z.string().optional().meta({ description: 'of a write through the proxy' }),
  agent: z.string().optional().meta({ description: "the caller's User-Agent, shortened; a hint, not proof" }),
  code: z.string().optional(),
  caller: z
    .string()
    .optional()
    .meta({ description: 'program, pid and parents of the caller, as the system tells; or unknown' }),
  count: z
    .number()
    .int()
    .optional()
    .meta({ description: 'how many more equal events of the minute before this entry represents' }),
})
export type AuditEntry = z.infer<typeof auditEntry>
export const auditQuery = z.strictObject({
  since: time.optional(),
  token: z
    .string()
    .min(1)
    .max(100)
    .optional()
    .meta({ description: 'only what is about the token of this id or name' }),
})
export const auditList = z.object({ entries: z.array(auditEntry) })
export type AuditList = z.infer<typeof auditList>
