/** Finds the operation that a request stands for, with the same result as the servers' own routers. */
import { decode } from '../prefect/proxied.js'
import { lazy } from '../std/lazy.js'
import { segmentsOf } from './ground.js'
import { listOperations } from './operations.js'

interface Branch {
  readonly literals: Map<string, Branch>
  /** Below a part in braces, which stands for any one segment. */
  any?: Branch
  operation?: string
}

/**
 * Returns the operation of the table; `undefined` if there is none, or if the path can be read in more than one way. `path` is
 * what follows the API's base, as it was sent, with or without its workspace. HEAD and OPTIONS count as GET.
 */
export function findOperation(method: string, path: string): string | undefined {
  const segments = segmentsOf(path)
  return segments === undefined ? undefined : findBelow(method, segments, startOf(segments))
}

/** The part of a path that names a workspace, as it was sent: `/accounts/A/workspaces/W`, or empty. */
export function workspaceIn(path: string): string {
  const segments = path.split('/', 5)
  // Decoded, as the servers read it: another spelling is the same workspace.
  return namesWorkspace(segments.map(decode), 1) ? segments.join('/') : ''
}

/** What follows the workspace in a path that names one; else the path itself. */
export function withoutWorkspace(path: string): string {
  return path.slice(workspaceIn(path).length)
}

/** Where the operation begins: after the workspace, or after the `/api` of a server whose base lacks it. */
function startOf(segments: readonly string[]): number {
  if (namesWorkspace(segments, 0)) return 4
  let start = 0
  while (segments[start] === 'api') start += 1
  return start
}

function namesWorkspace(segments: readonly (string | undefined)[], at: number): boolean {
  const workspace = segments[at + 3]
  if (segments[at] !== 'accounts' || segments[at + 2] !== 'workspaces') return false
  // Those are POSTs that list the account's workspaces.
  return workspace !== undefined && workspace !== '' && workspace !== 'filter' && workspace !== 'count'
}

function findBelow(method: string, segments: readonly string[], start: number): string | undefined {
  const asked = method === 'HEAD' || method === 'OPTIONS' ? 'GET' : method
  const root = roots().get(asked)
  // The root is a single empty segment.
  const end = segments[segments.length - 1] === '' ? segments.length - 1 : segments.length
  return root === undefined ? undefined : descend(root, segments, start, end)
}

/** A literal wins over a part in braces. Where both fit, the order of the servers' routes gives the same result. */
function descend(branch: Branch, segments: readonly string[], at: number, end: number): string | undefined {
  const segment = segments[at]
  if (at === end || segment === undefined) return branch.operation
  const literal = branch.literals.get(segment)
  const found = literal && descend(literal, segments, at + 1, end)
  if (found !== undefined || branch.any === undefined) return found
  return descend(branch.any, segments, at + 1, end)
}

const roots = lazy(() => {
  const byMethod = new Map<string, Branch>()
  for (const [operation] of listOperations()) {
    const [method = '', path = ''] = operation.split(' ')
    const root = byMethod.get(method) ?? newBranch()
    byMethod.set(method, root)
    plant(root, path).operation = operation
  }
  return byMethod
})

/** The branch that a template leads to. */
function plant(root: Branch, path: string): Branch {
  let branch = root
  for (const part of path.split('/').filter((part) => part !== '')) {
    const next = part.startsWith('{') ? branch.any : branch.literals.get(part)
    const grown = next ?? newBranch()
    if (part.startsWith('{')) branch.any = grown
    else branch.literals.set(part, grown)
    branch = grown
  }
  return branch
}

function newBranch(): Branch {
  return { literals: new Map() }
}
