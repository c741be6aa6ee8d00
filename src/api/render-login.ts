/** A login as its callers see it: never a key. */

import { renderProblem } from '../http/problem.js'
import type { LoginView as Login } from '../login/login.js'
import type { LoginView } from '../wire/login.js'
import { renderKey, renderOwner, renderTime, renderWorkspace } from './render.js'

export function renderLogin(login: Login): LoginView {
  const currentId = login.workspace?.workspaceId
  return {
    id: login.id,
    profile: login.profile,
    state: login.state,
    version: login.version,
    ...(login.url === undefined ? {} : { url: login.url }),
    expires_at: renderTime(login.expiresAt),
    ...(login.owner === undefined ? {} : { owner: renderOwner(login.owner) }),
    ...(login.isOwnerKnown === undefined ? {} : { owner_known: login.isOwnerKnown }),
    ...(login.workspaces === undefined
      ? {}
      : { workspaces: login.workspaces.map((one) => renderWorkspace(one, currentId)) }),
    ...(login.workspace === undefined ? {} : { workspace: renderWorkspace(login.workspace, currentId) }),
    refused: login.refused,
    ...(login.notice === undefined ? {} : { notice: login.notice }),
    ...(login.key === undefined ? {} : { key: renderKey(login.key) }),
    ...(login.exchange === undefined
      ? {}
      : { exchange: { done: login.exchange.isDone, message: login.exchange.message } }),
    ...(login.error === undefined ? {} : { error: renderProblem(login.error) }),
  }
}
