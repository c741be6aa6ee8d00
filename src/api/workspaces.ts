/** The workspaces of a profile's key, and the choice of one. */

import type { ApiServer } from '../http/schema.js'
import { profileParams, setWorkspaceAnswer, setWorkspaceBody, workspaceList } from '../wire/profile.js'
import type { RouteContext } from './context.js'
import { withoutUserinfo } from './profiles.js'
import { renderWorkspace } from './render.js'

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
      const { profile, workspace, apiUrl } = await workspaces.choose(
        request.params.name,
        request.body.workspace,
      )
      trail.done(request, guard.callerOf(request), 'profile_changed', { profile })
      return reply.send({
        profile,
        workspace: renderWorkspace(workspace, workspace.workspaceId),
        api_url: withoutUserinfo(apiUrl),
      })
    },
  )
}
