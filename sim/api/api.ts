/** Everything below `/api`: authenticates, then dispatches to a route or a workspace. */

import type { SimClock } from '../clock.js'
import type { Directory } from '../directory.js'
import type { KeyStore } from '../keys.js'
import type { Gate } from '../server/gate.js'
import { checkLength, presentedKey, type UnroutedRequest } from '../server/incoming.js'
import { type Answer, type AuthedRequest, json } from '../ui/exchange.js'
import type { WorkspaceApi } from '../workspace/api.js'
import { accountRoutes } from './accounts.js'
import { botRoutes } from './bots.js'
import { meRoutes } from './me.js'
import { matchRoute, type Route } from './router.js'
import { userRoutes } from './users.js'

interface ApiParts {
  readonly clock: SimClock
  readonly directory: Directory
  readonly keys: KeyStore
  readonly gate: Gate
  readonly workspaceApi: WorkspaceApi
  readonly keyListing: boolean
  readonly minting: () => boolean
  readonly serviceAccountAge: () => number
  readonly keepsOnePrevious: () => boolean
  readonly grantedOverlap: () => number
}

/** Handles a request below `/api`. Throws refusals. */
export type Api = (request: UnroutedRequest) => Promise<Answer>

export const API_PREFIX = '/api'

export function createApi(parts: ApiParts): Api {
  const routes: Route<AuthedRequest>[] = [
    ...meRoutes(parts),
    ...userRoutes(parts),
    ...botRoutes(parts),
    ...accountRoutes(parts),
  ]
  return async (request) => {
    checkLength(request)
    const path = request.path.slice(API_PREFIX.length)
    // research/prefect.md 2.1: without a key.
    if (path === '/health') return json(200, true)

    // A request with an invalid key must not learn which paths exist.
    const caller = parts.gate.admit(presentedKey(request.headers))
    const match = matchRoute(routes, request.method, path)
    if (match.kind === 'route') return match.route.run({ ...request, ...caller, param: match.param })
    const inWorkspace = parts.workspaceApi.locate(path)
    if (inWorkspace !== undefined) return parts.workspaceApi.answer(request, caller.actor, inWorkspace)
    return match.answer
  }
}
