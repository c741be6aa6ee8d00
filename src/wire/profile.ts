/** Profiles and workspaces: what the file says, what is effective and why, and the changes of them. */
import { z } from 'zod'
import { newProfileName, profileName, workspaceRef } from './common.js'

export const profileView = z.object({
  name: profileName,
  active: z.boolean(),
  source: z.enum(['file', 'bundled']),
  kind: z.enum(['cloud', 'server', 'none']),
  because: z.string(),
  alias_of: profileName
    .optional()
    .meta({ description: 'the profile whose key is served: this one goes through the proxy to it' }),
  api_url: z.string().optional(),
  workspace: workspaceRef.optional(),
  key: z
    .enum(['vault', 'file', 'none'])
    .meta({ description: 'where the served key comes from; file: plain text in profiles.toml' }),
  auth_string: z.enum(['vault', 'file', 'none']),
  login_required: z.boolean(),
  settings: z
    .record(z.string(), z.string())
    .meta({ description: 'what the file sets, without secret values' }),
  warnings: z.array(z.string()),
})
export type ProfileView = z.infer<typeof profileView>

export const profilesFileView = z.object({
  path: z.string(),
  state: z.enum(['good', 'missing', 'empty', 'invalid', 'unreadable']),
  problem: z.string().optional(),
  warnings: z
    .array(z.string())
    .optional()
    .meta({ description: 'about the file itself, each with its remedy' }),
})

export const profileList = z.object({
  file: profilesFileView,
  active: profileName,
  profiles: z.array(profileView),
})
export type ProfileList = z.infer<typeof profileList>

export const profileParams = z.strictObject({ name: profileName })
export const useProfileBody = z.strictObject({ name: profileName })
export const createProfileBody = z.strictObject({
  name: newProfileName,
  api_url: z.string().max(2000).optional(),
  auth_string: z.string().min(1).max(4000).optional(),
})
export const patchProfileBody = z.strictObject({
  api_url: z.string().max(2000).nullable().optional().meta({ description: 'null removes it' }),
  auth_string: z.string().min(1).max(4000).nullable().optional().meta({ description: 'null removes it' }),
})
export const renameProfileBody = z.strictObject({ to: newProfileName })

/** POST …/adopt */
export const adoptAnswer = z.object({
  profile: profileName,
  fingerprint: z.string(),
  message: z.string(),
})

export const workspaceView = z.object({
  handle: z.string().meta({ description: 'account/workspace' }),
  account_id: z.string(),
  account_name: z.string().optional(),
  workspace_id: z.string(),
  name: z.string().optional(),
  current: z.boolean(),
})
export type WorkspaceView = z.infer<typeof workspaceView>

export const workspaceList = z.object({ profile: profileName, workspaces: z.array(workspaceView) })

/** `handle/handle`, `account-id/workspace-id`, a workspace id, an API URL, or a browser page's URL. */
export const setWorkspaceBody = z.strictObject({ workspace: z.string().min(1).max(2000) })
export const setWorkspaceAnswer = z.object({
  profile: profileName,
  workspace: workspaceView,
  api_url: z.string(),
})

/** The profile keeps its workspace. */
export const createWorkspaceBody = z.strictObject({
  handle: z.string().regex(/^[^\s/]{1,255}$/, 'a handle, without blanks and slashes'),
  name: z.string().min(1).max(255).optional().meta({ description: 'absent: the handle' }),
  account: z.string().min(1).max(255).optional().meta({
    description: "a handle or an id; absent: the account of the profile's workspace, else the only one",
  }),
})
export type CreateWorkspaceBody = z.input<typeof createWorkspaceBody>
export const createWorkspaceAnswer = z.object({ profile: profileName, workspace: workspaceView })
