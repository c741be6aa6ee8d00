/** The ground floor of every policy: whether an operation may go through the proxy at all. Refuses by default. */
import type { WorkspaceIds } from '../prefect/api-url.js'
import { decode } from '../prefect/proxied.js'
import { ABOVE, ADMINISTRATION, KEY_NOUN, METHODS, OUTSIDE, WRITABLE } from './table.js'

/** What kind of API the profile has, and which of its workspaces are the caller's own. */
export type Reach =
  | { readonly kind: 'cloud'; readonly workspaces: readonly WorkspaceIds[] }
  | { readonly kind: 'server' }

/** A method and a path with `{…}` for what may be any one segment. */
interface Operation {
  readonly method: string
  readonly segments: readonly string[]
}

/**
 * Written, or readable, in more than one way: percent-encoded separators and dots (also encoded twice), backslashes,
 * control characters, percent signs that encode nothing.
 */
const AMBIGUOUS = /[\\\p{Cc}#]|%(?:25)*(?:2e|2f|5c|7f|[01][0-9a-f])|%(?![0-9a-f]{2})/iu
const DOT_SEGMENT = /(?:^|\/)\.{1,2}(?:;[^/]*)?(?=\/|$)/
/** Most paths: nothing in them can be read in two ways, and that is seen at once. */
const PLAIN_PATH = /^[\w~/-]*$/
const PLAIN = /^[\w.~-]*$/

const methods = new Set<string>(METHODS)

export function isMethodAllowed(method: string): boolean {
  return methods.has(method)
}

const IS_AMBIGUOUS = 'it is ambiguous'
const IS_ABOUT_KEYS = 'it creates or reads API keys'
const OF_ANOTHER_ACCOUNT = 'it belongs to another account'
const OF_ANOTHER_WORKSPACE = 'it belongs to another workspace'
const IS_ADMINISTRATION = 'it administers the workspace'
const IS_UNLISTED = 'no job needs it'

/** What the owner may allow all the same (`proxy.allow`). */
const NEGOTIABLE: ReadonlySet<string> = new Set([IS_ADMINISTRATION, IS_UNLISTED])

/**
 * Returns the function that says why an operation is refused: `undefined` if it may pass. `path` is what follows the API's
 * base, as it was sent. `allowed`: operations that the owner adds, as `METHOD /path/{template}`.
 */
export function createGround(allowed: readonly string[]) {
  const added = allowed.map(parseOperation)
  return (method: string, path: string, reach: Reach): string | undefined => {
    const segments = segmentsOf(path)
    if (segments === undefined) return IS_AMBIGUOUS
    const flaw =
      reach.kind === 'cloud' ? ofCloud(method, segments, reach.workspaces) : ofServer(method, segments)
    if (flaw === undefined || !NEGOTIABLE.has(flaw)) return flaw
    const workspaces = reach.kind === 'cloud' ? reach.workspaces : []
    return matches(added, method, segments, workspaces) ? undefined : flaw
  }
}

function ofCloud(
  method: string,
  segments: readonly string[],
  workspaces: readonly WorkspaceIds[],
): string | undefined {
  const [first = '', account = '', noun = '', id = '', inner] = segments
  if (first !== 'accounts') return ofList(method, segments, workspaces)
  const own = workspaces.filter(({ accountId }) => accountId === account.toLowerCase())
  if (own.length === 0) return OF_ANOTHER_ACCOUNT
  if (noun !== 'workspaces' || id === '' || id === 'filter' || id === 'count') {
    return ofList(method, segments, own)
  }
  if (!own.some(({ workspaceId }) => workspaceId === id.toLowerCase())) return OF_ANOTHER_WORKSPACE
  return inner === undefined ? ofRoot(method) : ofNoun(method, inner)
}

/** The workspace itself: a job does not rename or delete what it works in. */
function ofRoot(method: string): string | undefined {
  return isRead(method) ? undefined : IS_ADMINISTRATION
}

/** Below a workspace: everything but what is about keys or about the workspace itself. */
function ofNoun(method: string, noun: string): string | undefined {
  if (!PLAIN.test(noun)) return IS_AMBIGUOUS
  // Most requests are about one of these, and none of them is refused below.
  if (WRITABLE.has(noun)) return undefined
  if (KEY_NOUN.test(noun)) return IS_ABOUT_KEYS
  if (ADMINISTRATION.test(noun)) return IS_ADMINISTRATION
  return noun.toLowerCase() === 'admin' && !isRead(method) ? IS_ADMINISTRATION : undefined
}

/** A server has no accounts, but a profile may point at anything. */
function ofServer(method: string, segments: readonly string[]): string | undefined {
  // A base without `/api` must not open what is closed below it.
  const at = segments.findIndex((segment) => segment !== 'api')
  const below = at > 0 ? segments.slice(at) : segments
  const [first] = below
  if (first === undefined || first === '') return ofRoot(method)
  const noun = first.toLowerCase()
  if (ABOVE.has(noun)) return ofList(method, below, [])
  const flaw = ofNoun(method, first)
  if (flaw !== undefined) return flaw
  return isRead(method) || WRITABLE.has(first) ? undefined : IS_UNLISTED
}

const outside = OUTSIDE.map(parseOperation)

/** No part of these paths is a name that a user chose: nothing needs a percent sign, and no part may be about keys. */
function ofList(
  method: string,
  segments: readonly string[],
  workspaces: readonly WorkspaceIds[],
): string | undefined {
  for (const segment of segments) {
    if (!PLAIN.test(segment)) return IS_AMBIGUOUS
    if (KEY_NOUN.test(segment)) return IS_ABOUT_KEYS
  }
  return matches(outside, method, segments, workspaces) ? undefined : IS_UNLISTED
}

function isRead(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
}

function matches(
  operations: readonly Operation[],
  method: string,
  segments: readonly string[],
  workspaces: readonly WorkspaceIds[],
): boolean {
  const asked = isRead(method) ? 'GET' : method
  return operations.some(
    (operation) =>
      operation.method === asked &&
      operation.segments.length === segments.length &&
      operation.segments.every((wanted, at) => fits(wanted, segments[at] ?? '', workspaces)),
  )
}

function fits(wanted: string, segment: string, workspaces: readonly WorkspaceIds[]): boolean {
  if (wanted === '{account}') return workspaces.some(({ accountId }) => accountId === segment.toLowerCase())
  if (wanted === '{workspace}') {
    return workspaces.some(({ workspaceId }) => workspaceId === segment.toLowerCase())
  }
  return wanted.startsWith('{') ? segment !== '' : wanted === segment
}

function parseOperation(text: string): Operation {
  const [method = '', path = ''] = text.split(' ')
  return { method, segments: segmentsOf(path) ?? [] }
}

/** Decoded, without a trailing slash; `undefined` if the path can be read in more than one way. */
export function segmentsOf(path: string): readonly string[] | undefined {
  if (path.includes('//')) return undefined
  const end = path.endsWith('/') ? path.length - 1 : path.length
  const segments = path.slice(1, end).split('/')
  if (PLAIN_PATH.test(path)) return segments
  if (AMBIGUOUS.test(path) || DOT_SEGMENT.test(path)) return undefined
  const decoded = segments.map(decode)
  return decoded.includes(undefined) ? undefined : decoded.map((segment) => segment ?? '')
}

const ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const WORD = /^[a-z][a-z_-]{0,39}$/i
const MOST_SEGMENTS = 10

/** The operation as the owner reads it, and may write it into `proxy.allow`: ids and chosen names become `{…}`. */
export function operationOf(method: string, path: string): string {
  const segments = (segmentsOf(path) ?? ['{ambiguous}']).slice(0, MOST_SEGMENTS)
  const shown = segments.map((segment, at) => {
    if (segment === '{ambiguous}' || segment === '') return segment
    if (at === 1 && segments[0] === 'accounts') return '{account}'
    if (at === 3 && segments[0] === 'accounts' && segments[2] === 'workspaces' && ID.test(segment)) {
      return '{workspace}'
    }
    return WORD.test(segment) ? segment : '{id}'
  })
  return `${method} /${shown.join('/')}`
}
