/** `/accounts/{A}/workspaces/{W}/`: checks access, then forwards to a real Prefect server, if any. */
import type { Agent } from 'node:http'
import type { Actor } from '../api/rows.js'
import type { Directory } from '../directory.js'
import type { UnroutedRequest } from '../server/incoming.js'
import { type Answer, detail, json, refusal } from '../ui/exchange.js'
import { forwardHttp } from './forward-http.js'

export interface WorkspacePath {
  readonly accountId: string
  readonly workspaceId: string
  /** The rest of the path, with its leading slash. */
  readonly rest: string
}

export interface WorkspaceApi {
  /** Returns `undefined` if the path (below `/api`) is not inside a workspace. */
  locate(path: string): WorkspacePath | undefined
  /** Throws 404 for non-members (research/prefect.md 1.9). */
  check(actor: Actor, path: WorkspacePath): void
  answer(request: UnroutedRequest, actor: Actor, path: WorkspacePath): Promise<Answer>
}

const WORKSPACE_PATH = /^\/accounts\/([0-9a-f-]{36})\/workspaces\/([0-9a-f-]{36})(\/.*)$/

export function createWorkspaceApi(parts: {
  readonly directory: Directory
  /** API base of a real server, `http://127.0.0.1:4200/api`. */
  readonly backend: () => string | undefined
  readonly agent: Agent
}): WorkspaceApi {
  const { directory, backend, agent } = parts

  const check = (actor: Actor, { accountId, workspaceId }: WorkspacePath) => {
    const workspace = directory.workspaces.get(workspaceId)
    if (workspace?.accountId !== accountId || !actor.workspaceIds.has(workspaceId)) {
      throw refusal(detail(404, 'Not Found'))
    }
  }
  return {
    locate(path) {
      const [, accountId, workspaceId, rest] = WORKSPACE_PATH.exec(path) ?? []
      if (accountId === undefined || workspaceId === undefined || rest === undefined) return undefined
      return { accountId, workspaceId, rest }
    },
    check,
    async answer(request, actor, path) {
      check(actor, path)
      const own = cloudOnly(request.method, path.rest)
      if (own !== undefined) return own
      const base = backend()
      if (base === undefined) return withoutBackend(request.method, path.rest)
      return forwardHttp({ request, url: `${base}${serverPath(path.rest)}`, agent })
    },
  }
}

/** Endpoints of Prefect Cloud that a server lacks (research/prefect.md 4.3): 3.x clients send metrics there. */
function cloudOnly(method: string, rest: string): Answer | undefined {
  if (method === 'POST' && rest.startsWith('/telemetry/')) return json(200, {})
  return undefined
}

/** Maps Cloud's path to the server's, if they differ (research/prefect.md 4.3). */
function serverPath(rest: string): string {
  return rest === '/collections/work_pool_types' ? '/collections/views/aggregate-worker-metadata' : rest
}

/** Enough for a health probe; flows need a real server. */
function withoutBackend(method: string, rest: string): Answer {
  if (method === 'GET' && rest === '/health') return json(200, true)
  if (method === 'GET' && rest === '/collections/work_pool_types') return json(200, {})
  if (method === 'POST' && /\/filter$/.test(rest)) return json(200, [])
  if (method === 'POST' && /\/count$/.test(rest)) return json(200, 0)
  return detail(404, 'Not Found')
}
