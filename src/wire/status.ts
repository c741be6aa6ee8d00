/** Status, doctor, health, and the daemon's own switches. No secrets but the passphrase of an unlock. */
import { z } from 'zod'
import { keyView, owner, profileName, time, workspaceRef } from './common.js'
import { proxyTraffic } from './credentials.js'
import { fileView } from './files.js'
import { renewalView } from './keys.js'
import { profilesFileView } from './profile.js'

const listenerView = z.object({
  door: z.enum(['socket', 'restricted', 'tcp']),
  address: z.string().meta({ description: 'a path, or http://127.0.0.1:PORT' }),
  state: z.enum(['listening', 'off', 'failed']),
  problem: z.string().optional(),
  inherited: z
    .boolean()
    .optional()
    .meta({ description: 'opened by the system, which keeps it while the daemon is not running' }),
})

const vaultView = z.object({
  backend: z.enum(['keychain', 'file']),
  at_rest: z.enum(['os keychain', 'systemd credential', 'passphrase', 'not protected']),
  because: z.string(),
  state: z.enum(['ready', 'locked', 'unavailable', 'timed_out']),
  problem: z.object({ message: z.string(), hint: z.string() }).optional(),
})

const profileStatus = z.object({
  name: profileName,
  active: z.boolean(),
  kind: z.enum(['cloud', 'server', 'none']),
  because: z.string(),
  alias_of: profileName
    .optional()
    .meta({ description: 'the profile whose key is served: this one goes through the proxy to it' }),
  api_url: z.string().optional(),
  workspace: workspaceRef.optional(),
  owner: owner.optional(),
  key: keyView.optional(),
  key_source: z.enum(['vault', 'file', 'none']),
  state: z.enum(['doubted', 'rejected']).optional().meta({
    description:
      'doubted: Prefect has begun to refuse the key, which is still served; rejected: it is not served',
  }),
  generation: z.number().int(),
  ready: z.boolean(),
  reason: z.string().optional().meta({ description: 'why it is not ready' }),
  hint: z.string().optional(),
  renewal: renewalView.optional().meta({ description: 'if the daemon holds the key' }),
  notices: z.array(z.string()).meta({ description: 'what the user should know, each with its remedy' }),
})
export type ProfileStatus = z.infer<typeof profileStatus>

export const status = z.object({
  daemon: z.object({
    version: z.string(),
    pid: z.number().int(),
    started_at: time,
    on_demand: z.boolean().optional().meta({ description: 'a command started it; it exits when it is idle' }),
    node: z.string(),
    recogniser: z.enum(['on', 'off', 'not_compared']).default('off').meta({
      description:
        'whether plain requests are read without the parser of Node; not_compared: not with this Node',
    }),
    state_dir: z.string(),
    config_file: z.string().optional(),
    log_level: z.string(),
  }),
  listeners: z.array(listenerView),
  vault: vaultView,
  profiles_file: profilesFileView,
  active: profileName,
  profiles: z.array(profileStatus),
  logins: z.array(z.object({ id: z.string(), profile: profileName, state: z.string(), expires_at: time })),
  proxy: z
    .array(proxyTraffic)
    .default([])
    .meta({ description: 'traffic through the proxy since the start, the busiest first' }),
  proxy_strangers: z
    .object({ refused: z.number().int(), last_at: time.optional() })
    .optional()
    .meta({ description: 'requests to the proxy that showed no token, or none that is active' }),
  files: z.array(fileView).default([]).meta({ description: 'files that are kept up to date; for the owner' }),
  notices: z.array(z.string()),
})
export type Status = z.infer<typeof status>

const check = z.object({
  name: z.string(),
  verdict: z.enum(['ok', 'warning', 'problem', 'unknown']),
  finding: z.string(),
  remedy: z.string().optional(),
})
export const doctorQuery = z.strictObject({
  profile: profileName.optional().meta({ description: 'the profile to look at; default: the active one' }),
  check: z.string().max(40).optional().meta({ description: 'only the check of this name' }),
})
export const doctor = z.object({ checks: z.array(check) })
export type Doctor = z.infer<typeof doctor>

export const ready = z.object({
  ready: z.boolean(),
  reason: z.string().optional(),
  degraded: z.string().optional().meta({ description: 'why it is ready now but will not stay so' }),
  hint: z.string().optional(),
})
export type Ready = z.infer<typeof ready>
export const live = z.object({ live: z.boolean() })

export const unlockBody = z.strictObject({ passphrase: z.string().min(1).max(4000) })
export const vaultAnswer = z.object({ vault: vaultView })
export const vaultMoveBody = z.strictObject({
  to: z
    .enum(['keychain', 'file', 'systemd-creds', 'passphrase', 'key-file'])
    .meta({ description: 'as the settings name it; file takes what protects its data key best here' }),
  passphrase: z.string().min(1).max(4000).optional().meta({ description: 'of the new vault' }),
})
export const vaultRekeyBody = z.strictObject({
  passphrase: z
    .string()
    .min(1)
    .max(4000)
    .optional()
    .meta({ description: 'the new one, of a passphrase vault' }),
})
export const vaultMoveAnswer = vaultAnswer.extend({
  items: z.number().int().meta({ description: 'how many secrets were moved' }),
})
export type VaultMoveAnswer = z.infer<typeof vaultMoveAnswer>
export type VaultAnswer = z.infer<typeof vaultAnswer>
export const logLevels = ['debug', 'info', 'warn', 'error'] as const
export const logLevelBody = z.strictObject({ level: z.enum(logLevels) })
export const logLevelAnswer = z.object({ level: z.enum(logLevels) })
export const shutdownAnswer = z.object({ message: z.string() })
