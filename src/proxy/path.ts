/**
 * Pure: which paths of an API a token may ask for. The default is no: its own account and workspace, and the few paths
 * above them that Prefect's clients read.
 */
import type { WorkspaceIds } from '../prefect/api-url.js'
import { decode } from '../prefect/proxied.js'

/** What the profile's API is, and what of it is the caller's own. */
type ProxyScope =
  | { readonly kind: 'cloud'; readonly workspaces: readonly WorkspaceIds[] }
  | { readonly kind: 'server' }

/**
 * Written in more than one way, or read in more than one way: separators and dots in percent signs (also twice encoded),
 * backslashes, control characters, percent signs that stand for nothing.
 */
const AMBIGUOUS = /[\\\p{Cc}#]|%(?:25)*(?:2e|2f|5c|7f|[01][0-9a-f])|%(?![0-9a-f]{2})/iu
const DOT_SEGMENT = /(?:^|\/)\.{1,2}(?:;[^/]*)?(?=\/|$)/
/** Nothing in it can be read in two ways: so are most paths, and this is seen at once. */
const PLAIN_PATH = /^[\w~/-]*$/
const PLAIN = /^[\w.~-]*$/
/** Whatever makes or reads keys, by the names of Prefect's API and by those it might have. */
const KEY_NOUN = /^(?:bots|service[_-]?accounts|(?:rotate[_-])?api[_-]?keys?)/i
const READABLE = new Set(['health', 'ready', 'version', 'hello', 'csrf-token', 'admin', 'collections'])

/** Why this path, below the API's base, is refused; `undefined` where it may go. */
export function findPathFlaw(method: string, path: string, scope: ProxyScope): string | undefined {
  if (path.includes('//') || (!PLAIN_PATH.test(path) && (AMBIGUOUS.test(path) || DOT_SEGMENT.test(path)))) {
    return 'it can be read in more than one way'
  }
  const segments = path.split('/').slice(1).map(decode)
  if (segments.includes(undefined)) return 'it can be read in more than one way'
  const known = segments.map((segment) => segment ?? '')
  return scope.kind === 'cloud' ? findCloudFlaw(method, known, scope.workspaces) : findServerFlaw(known)
}

function findCloudFlaw(
  method: string,
  segments: readonly string[],
  workspaces: readonly WorkspaceIds[],
): string | undefined {
  const [first = '', second = '', third = ''] = segments
  if (first === 'accounts') return findAccountFlaw(segments.slice(1), workspaces)
  const isRead = method === 'GET' || method === 'HEAD'
  if (first === '' || (READABLE.has(first) && isRead)) return undefined
  const isMe = first === 'me' && third === '' && ['', 'workspaces', 'accounts'].includes(second)
  return isMe && isRead ? undefined : 'it is not below the account and workspace of the profile'
}

/** `rest` is what stands behind `/accounts/`. */
function findAccountFlaw(rest: readonly string[], workspaces: readonly WorkspaceIds[]): string | undefined {
  const [account = '', noun = '', id = '', ...below] = rest
  const own = workspaces.filter(({ accountId }) => accountId === account.toLowerCase())
  if (own.length === 0) return 'it belongs to another account'
  if (noun === 'workspaces' && !['', 'filter', 'count'].includes(id)) {
    if (!own.some(({ workspaceId }) => workspaceId === id.toLowerCase()))
      return 'it belongs to another workspace'
    return KEY_NOUN.test(below[0] ?? '') ? 'it makes or reads keys' : undefined
  }
  // Here no part is a name that a user gave, so nothing needs a percent sign, and no part may speak of keys.
  if (!rest.every((segment) => PLAIN.test(segment))) return 'it can be read in more than one way'
  return rest.slice(1).some((segment) => KEY_NOUN.test(segment)) ? 'it makes or reads keys' : undefined
}

/** A server has no accounts; but a profile may point at anything. */
function findServerFlaw(segments: readonly string[]): string | undefined {
  const [first = '', , third = ''] = segments
  const isOfKeys = (first === 'users' || first === 'accounts') && KEY_NOUN.test(third)
  return isOfKeys ? 'it makes or reads keys' : undefined
}
