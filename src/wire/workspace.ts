/** Workspaces of a profile's key, and the choice of one. */
import { z } from 'zod'
import { profileName } from './common.js'

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
export type WorkspaceList = z.infer<typeof workspaceList>

/** `handle/handle`, `account-id/workspace-id`, a workspace id, an API URL, or a browser page's URL. */
export const setWorkspaceBody = z.strictObject({ workspace: z.string().min(1).max(2000) })
export const setWorkspaceAnswer = z.object({
  profile: profileName,
  workspace: workspaceView,
  api_url: z.string(),
})
export type SetWorkspaceAnswer = z.infer<typeof setWorkspaceAnswer>
