/** Logins, from the URL to the stored key, and logout. No answer carries a key. */
import { z } from 'zod'
import { keyView, owner, problem, profileName, time } from './common.js'
import { workspaceView } from './profile.js'

const loginStates = [
  'waiting',
  'received',
  'verified',
  'confirmed',
  'stored',
  'failed',
  'cancelled',
  'expired',
] as const

export const loginBody = z.strictObject({
  profile: profileName.optional(),
  workspace: z.string().min(1).max(2000).optional().meta({ description: 'as in PUT …/workspace' }),
  owner: z
    .string()
    .min(1)
    .max(320)
    .optional()
    .meta({ description: 'email or handle of the owner that the key must have' }),
  port: z.number().int().min(1024).max(65_535).optional().meta({
    description: 'the port for the browser, if somebody forwards it to this machine; default: any free one',
  }),
  switch_owner: z.boolean().optional().meta({ description: 'allow a different owner than the stored one' }),
})
export type LoginBody = z.infer<typeof loginBody>

export const loginView = z.object({
  id: z.string(),
  profile: profileName,
  state: z.enum(loginStates),
  version: z.number().int().meta({ description: 'grows with every change; the ETag carries it' }),
  url: z.string().optional().meta({ description: 'to open in a browser, while waiting' }),
  expires_at: time,
  owner: owner.optional().meta({ description: 'whose key arrived; from verified on' }),
  owner_known: z.boolean().optional().meta({ description: 'true: the stored owner, or the one asked for' }),
  workspaces: z
    .array(workspaceView)
    .optional()
    .meta({ description: 'to choose from, in the state verified' }),
  workspace: workspaceView.optional().meta({ description: 'the chosen one' }),
  refused: z.number().int().meta({
    description: 'requests to the callback that delivered no key: probes, malformed keys, wrong states',
  }),
  refused_by: z
    .record(z.string(), z.number().int())
    .optional()
    .meta({ description: 'the same by reason: host, origin, method, path, key, failure, …' }),
  notice: z
    .string()
    .optional()
    .meta({ description: 'the latest notice for the user, e.g. that a malformed key arrived' }),
  key: keyView.optional().meta({ description: 'the stored key' }),
  exchange: z
    .object({ done: z.boolean(), message: z.string() })
    .optional()
    .meta({ description: 'whether a minted key replaced the delivered one' }),
  error: problem.optional(),
})
export type LoginView = z.infer<typeof loginView>

export const loginParams = z.strictObject({ id: z.string().min(1).max(64) })
export const loginKeyBody = z.strictObject({
  api_key: z.string().min(1).max(1000),
  exchange: z.boolean().optional(),
})
export const loginAddressBody = z.strictObject({
  address: z
    .string()
    .min(1)
    .max(4000)
    .meta({ description: 'the address that the browser ended on, with the key in its query' }),
})
export const loginConfirmBody = z.strictObject({
  accept: z.boolean(),
  workspace: z.string().min(1).max(2000).optional(),
})

export const logoutBody = z.strictObject({
  revoke: z.boolean().optional(),
  keep_unrevoked: z
    .boolean()
    .optional()
    .meta({ description: 'keep what Prefect does not delete in the vault, out of use, to try again' }),
})
export const logoutAnswer = z.object({
  profile: profileName,
  forgotten: z.array(z.string()).meta({ description: 'fingerprints of the keys removed from this machine' }),
  revoked: z.array(z.string()).meta({ description: 'fingerprints of the keys deleted at Prefect' }),
  not_revoked: z.array(z.object({ fingerprint: z.string(), reason: z.string() })),
  share: z
    .string()
    .optional()
    .meta({ description: 'the profile used this share: its key was forgotten here only, and works on' }),
})
export type LogoutAnswer = z.infer<typeof logoutAnswer>
