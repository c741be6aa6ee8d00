/** Workspaces: the ones that a profile's key reaches, and the choice of one. */

import type { ApiServer } from '../http/schema.js'
import { type Workspace, workspaceHandle } from '../prefect/cloud.js'
import { defined } from '../std/defined.js'
import {
  createWorkspaceAnswer,
  createWorkspaceBody,
  profileParams,
  setWorkspaceAnswer,
  setWorkspaceBody,
  type WorkspaceView,
  workspaceList,
} from '../wire/profile.js'
import type { RouteContext } from './context.js'
import { withoutUserinfo } from './view.js'

export function workspaceRoutes(api: ApiServer, { guard, trail, workspaces }: RouteContext): void {
  api.get(
    '/v1/profiles/:name/workspaces',
    {
      config: { needs: 'inspect', summary: "The workspaces that a profile's key reaches" },
      schema: { params: profileParams, response: { 200: workspaceList } },
    },
    async (request, reply) => {
      const found = await workspaces.list(request.params.name)
      return reply.send({
        profile: found.profile,
        workspaces: found.workspaces.map((one) => renderWorkspace(one, found.currentId)),
      })
    },
  )
  api.put(
    '/v1/profiles/:name/workspace',
    {
      config: { needs: 'admin', summary: 'Choose the workspace of a profile' },
      schema: { params: profileParams, body: setWorkspaceBody, response: { 200: setWorkspaceAnswer } },
    },
    async (request, reply) => {
      const chosen = await workspaces.choose(request.params.name, request.body.workspace)
      const { profile, workspace, apiUrl } = chosen
      trail.done(request, guard.callerOf(request), 'profile_changed', { profile })
      return reply.send({
        profile,
        workspace: renderWorkspace(workspace, workspace.workspaceId),
        api_url: withoutUserinfo(apiUrl),
      })
    },
  )
  api.post(
    '/v1/profiles/:name/workspaces',
    {
      config: { needs: 'admin', summary: 'Create a workspace; the profile keeps the one that it has' },
      schema: { params: profileParams, body: createWorkspaceBody, response: { 201: createWorkspaceAnswer } },
    },
    async (request, reply) => {
      const { handle, name, account } = request.body
      const wanted = { handle, ...defined({ name, account }) }
      const { profile, workspace } = await workspaces.create(request.params.name, wanted)
      trail.done(request, guard.callerOf(request), 'workspace_created', { profile })
      return reply.code(201).send({ profile, workspace: renderWorkspace(workspace, undefined) })
    },
  )
}

/** `currentId`: the id of the workspace that the profile names now. */
export function renderWorkspace(workspace: Workspace, currentId: string | undefined): WorkspaceView {
  const { accountId, accountName, workspaceId, workspaceName } = workspace
  return defined({
    handle: workspaceHandle(workspace),
    account_id: accountId,
    account_name: accountName,
    workspace_id: workspaceId,
    name: workspaceName,
    current: workspaceId === currentId,
  })
}
