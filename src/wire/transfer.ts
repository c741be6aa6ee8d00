/** The encrypted export of every profile's secret, and its import on another machine. */
import { z } from 'zod'

export const exportDocument = z
  .strictObject({
    format: z.literal('prefect-auth-export'),
    version: z.literal(1),
    kdf: z.literal('scrypt'),
    n: z
      .int()
      .min(2)
      .max(2 ** 19),
    salt: z.base64().length(24),
    nonce: z.base64().length(16),
    sealed: z.base64().min(1).max(3_000_000),
    tag: z.base64().length(24),
  })
  .meta({ description: 'what is written to the file: docs/vault.md' })
export type ExportDocument = z.infer<typeof exportDocument>

const passphrase = z.string().min(1).max(4000)
export const exportBody = z.strictObject({ passphrase })
export const exportAnswer = z.object({
  document: exportDocument,
  profiles: z.array(z.string()).meta({ description: 'whose secrets are in it' }),
})
export type ExportAnswer = z.infer<typeof exportAnswer>
export const importBody = z.strictObject({ passphrase, document: exportDocument })
export const importAnswer = z.object({
  profiles: z.array(
    z.object({ profile: z.string(), outcome: z.enum(['taken', 'kept', 'failed']), reason: z.string() }),
  ),
})
export type ImportAnswer = z.infer<typeof importAnswer>

/** What is sealed in an export. */
const exportedProfile = z.object({
  profile: z.string().min(1).max(200),
  kind: z.enum(['cloud', 'server']),
  api_url: z.string(),
  cloud_api_url: z.string(),
  secret: z.string().min(1).max(8192),
})
export const exportContent = z.object({
  version: z.literal(1),
  made_at: z.string(),
  profiles: z.array(exportedProfile).max(200),
})
export type ExportContent = z.infer<typeof exportContent>
export type ExportedProfile = z.infer<typeof exportedProfile>
