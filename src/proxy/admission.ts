/** Admission to the proxy: who sends the request, and which profile, upstream and path it may reach. */
import type { IncomingMessage } from 'node:http'
import { BrokerError } from '../base/errors.js'
import { type Doorkeeper, refuseForeign, requirePlace, tokenRequired } from '../http/guard.js'
import { parseHttpUrl, type WorkspaceIds } from '../prefect/api-url.js'
import { decode, type ProxyTarget, parseProxyTarget, tokenInHeader } from '../prefect/proxied.js'
import type { ResolvedProfile } from '../profiles/profile.js'
import type { Credentials, Served } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import { type Caller, requirePower, requireProfile } from '../tokens/access.js'
import type { KnownToken, Tokens } from '../tokens/tokens.js'

/** The sender of a request, as far as it is known. */
export interface Visitor {
  readonly caller: Caller
  readonly token?: KnownToken
  /** It has sent no token yet, on a listener that requires one. */
  readonly isStranger: boolean
}

/** An admitted request: who sent it, what to send it with, and where to. */
export interface Visit extends Visitor {
  readonly target: ProxyTarget
  readonly served: Served
  readonly upstream: Upstream
}

/** Where a profile's API is. */
export interface Upstream {
  /** `https://api.prefect.cloud` */
  readonly origin: string
  /** `api.prefect.cloud`; with its port unless that is the scheme's default. */
  readonly host: string
  /** `/api`; no trailing slash, empty if the API is at the root. */
  readonly basePath: string
  /** `user:password` from the URL itself. */
  readonly userinfo?: string
}

export interface Admission {
  /**
   * Returns who sent the request. With `mayUpgrade`, a WebSocket handshake may leave its token for the first frame.
   * Throws `host_refused`, `browser_refused`, `bad_request`, `token_required`, `token_invalid`.
   */
  identify(request: IncomingMessage, options?: { readonly mayUpgrade?: boolean }): Visitor
  /**
   * Resolves with where the request may go. Rejects with `not_found`, `power_missing`, `profile_not_allowed`,
   * `profile_not_cloud`, `proxy_path_refused`, `prefect_unreachable` if the profile points at this proxy, and whatever
   * `credentials.serve` throws.
   */
  admit(request: IncomingMessage, visitor: Visitor): Promise<Visit>
}

export function createAdmission({
  doorkeeper,
  tokens,
  credentials,
  ownAddresses,
}: {
  readonly doorkeeper: Doorkeeper
  readonly tokens: Pick<Tokens, 'recognise'>
  readonly credentials: Pick<Credentials, 'refresh' | 'state' | 'serve'>
  /** `host:port` of our own TCP listeners: never an upstream. */
  readonly ownAddresses: () => readonly string[]
}): Admission {
  // A resolved profile never changes, so its URL is parsed once and not for each request.
  const upstreams = new WeakMap<ResolvedProfile, Upstream>()
  const findUpstream = (profile: ResolvedProfile): Upstream => {
    const known = upstreams.get(profile)
    if (known !== undefined) return known
    const upstream = upstreamOf(profile)
    if (upstream === undefined) throw withoutApi(profile.name)
    upstreams.set(profile, upstream)
    return upstream
  }
  return {
    identify(request, { mayUpgrade = false } = {}) {
      const entrance = doorkeeper.entranceOf(request.socket)
      refuseForeign(request, entrance, { mayUpgrade })
      const authorization = authorizationIn(request.rawHeaders)
      if (authorization === undefined) {
        const isStranger = entrance.door !== 'socket'
        if (isStranger && !(mayUpgrade && authenticatesByFrame(request))) throw tokenRequired()
        return { caller: { door: entrance.door }, isStranger }
      }
      const text = tokenInHeader(authorization)
      const token = text === undefined ? undefined : tokens.recognise(text)
      if (token === undefined) throw invalidToken()
      requirePlace(doorkeeper, request.socket, token)
      return { caller: { door: entrance.door, token }, token, isStranger: false }
    },
    async admit(request, visitor) {
      const target = parseProxyTarget(request.url ?? '')
      if (target === undefined) throw notProxied()
      if (!visitor.isStranger) requireReach(visitor.caller, target.profile)
      await credentials.refresh()
      const { resolved } = credentials.state(target.profile)
      const served = credentials.serve(target.profile)
      const upstream = findUpstream(resolved)
      refusePath(request.method ?? '', target, resolved, visitor.token)
      if (ownAddresses().includes(upstream.host)) throw pointsAtUs(target.profile)
      return { ...visitor, target, served, upstream }
    },
  }
}

/** Returns the value of the one Authorization header, if there is one. Throws `bad_request` if there are more. */
function authorizationIn(raw: readonly string[]): string | undefined {
  let found: string | undefined
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? ''
    if (name.length !== 13 || name.toLowerCase() !== 'authorization') continue
    if (found !== undefined) {
      throw new BrokerError('bad_request', 'the request has more than one Authorization header')
    }
    found = raw[index + 1] ?? ''
  }
  return found
}

/** Prefect's clients offer the subprotocol `prefect` if their first frame authenticates. */
export function authenticatesByFrame({ headers }: IncomingMessage): boolean {
  const offered = headers['sec-websocket-protocol'] ?? ''
  return offered.split(',').some((each) => each.trim() === 'prefect')
}

/** Throws `power_missing`, `profile_not_allowed`. */
export function requireReach(caller: Caller, profile: string): void {
  requirePower(caller, 'proxy')
  requireProfile(caller, profile)
}

/** The API behind `/proxy/{profile}/api`; `undefined` if the profile has none. Pure. */
export function upstreamOf({ kind, cloudApiUrl, apiUrl }: ResolvedProfile): Upstream | undefined {
  const url = parseHttpUrl((kind === 'cloud' ? cloudApiUrl : apiUrl) ?? '')
  if (url === undefined || kind === 'none') return undefined
  const { username, password } = url
  const isAnonymous = username === '' && password === ''
  return {
    origin: url.origin,
    host: url.host,
    basePath: url.pathname.replace(/\/+$/, ''),
    ...defined({
      userinfo: isAnonymous ? undefined : `${unescaped(username)}:${unescaped(password)}`,
    }),
  }
}

/** A password with a bare `%` in it is taken literally. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Throws `proxy_path_refused`. */
function refusePath(
  method: string,
  { path, profile }: ProxyTarget,
  { kind, workspace }: ResolvedProfile,
  token: KnownToken | undefined,
): void {
  const scope: PathScope =
    kind === 'cloud' ? { kind, workspaces: ownWorkspaces(workspace, token?.workspace) } : { kind: 'server' }
  const flaw = findPathFlaw(method, path, scope)
  if (flaw === undefined) return
  throw new BrokerError('proxy_path_refused', `the proxy does not forward this path: ${flaw}`, {
    hint: `prefect-auth profile inspect ${profile}`,
  })
}

/** The profile's own, and the one it had when the token was made: a running job stays where it began. */
function ownWorkspaces(...ids: readonly (WorkspaceIds | undefined)[]): readonly WorkspaceIds[] {
  return ids.filter((one) => one !== undefined)
}

/** What kind of API the profile has, and which of its workspaces are the caller's own. */
type PathScope =
  | { readonly kind: 'cloud'; readonly workspaces: readonly WorkspaceIds[] }
  | { readonly kind: 'server' }

/**
 * Written, or readable, in more than one way: percent-encoded separators and dots (also encoded twice), backslashes,
 * control characters, percent signs that encode nothing.
 */
const AMBIGUOUS = /[\\\p{Cc}#]|%(?:25)*(?:2e|2f|5c|7f|[01][0-9a-f])|%(?![0-9a-f]{2})/iu
const DOT_SEGMENT = /(?:^|\/)\.{1,2}(?:;[^/]*)?(?=\/|$)/
/** Most paths: nothing in them can be read in two ways, and that is seen at once. */
const PLAIN_PATH = /^[\w~/-]*$/
const PLAIN = /^[\w.~-]*$/
/** Whatever creates or reads keys, by the names in Prefect's API and by names it might get. */
const KEY_NOUN = /^(?:bots|service[_-]?accounts|(?:rotate[_-])?api[_-]?keys?)/i
const READABLE = new Set(['health', 'ready', 'version', 'hello', 'csrf-token', 'admin', 'collections'])

const IS_AMBIGUOUS = 'it is ambiguous'
const IS_ABOUT_KEYS = 'it creates or reads API keys'

/**
 * Why this path, below the API's base, is refused; `undefined` if it may pass. Refuses by default: a token reaches its own
 * account and workspace, and the few paths above them that Prefect's clients read. Pure.
 */
export function findPathFlaw(method: string, path: string, scope: PathScope): string | undefined {
  if (path.includes('//') || (!PLAIN_PATH.test(path) && (AMBIGUOUS.test(path) || DOT_SEGMENT.test(path)))) {
    return IS_AMBIGUOUS
  }
  const segments = path.split('/').slice(1).map(decode)
  if (segments.includes(undefined)) return IS_AMBIGUOUS
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
  return isMe && isRead ? undefined : "it is outside the profile's account and workspace"
}

/** `rest` is what follows `/accounts/`. */
function findAccountFlaw(rest: readonly string[], workspaces: readonly WorkspaceIds[]): string | undefined {
  const [account = '', noun = '', id = '', ...below] = rest
  const own = workspaces.filter(({ accountId }) => accountId === account.toLowerCase())
  if (own.length === 0) return 'it belongs to another account'
  if (noun === 'workspaces' && !['', 'filter', 'count'].includes(id)) {
    if (!own.some(({ workspaceId }) => workspaceId === id.toLowerCase()))
      return 'it belongs to another workspace'
    return KEY_NOUN.test(below[0] ?? '') ? IS_ABOUT_KEYS : undefined
  }
  // No part of these paths is a name that a user chose: nothing needs a percent sign, and no part may be about keys.
  if (!rest.every((segment) => PLAIN.test(segment))) return IS_AMBIGUOUS
  return rest.slice(1).some((segment) => KEY_NOUN.test(segment)) ? IS_ABOUT_KEYS : undefined
}

/** A server has no accounts; but a profile may point at anything. */
function findServerFlaw(segments: readonly string[]): string | undefined {
  const [first = '', , third = ''] = segments
  const isOfKeys = (first === 'users' || first === 'accounts') && KEY_NOUN.test(third)
  return isOfKeys ? IS_ABOUT_KEYS : undefined
}

/** For somebody else's key and for a dead token: neither is ever passed on. */
function invalidToken(): BrokerError {
  // Prefect's own words for a 401.
  return new BrokerError('token_invalid', 'Invalid authentication credentials', {
    hint: 'the proxy accepts only active prefect-auth tokens: prefect-auth token ls',
  })
}

function notProxied(): BrokerError {
  return new BrokerError('not_found', 'nothing is proxied at this path', {
    hint: 'use the API URL that prefect-auth exec --proxy sets: /proxy/PROFILE/api/…',
  })
}

function withoutApi(profile: string): BrokerError {
  return new BrokerError('profile_not_cloud', `profile '${profile}' has no API URL`, {
    hint: `prefect-auth login --profile ${profile}`,
  })
}

function pointsAtUs(profile: string): BrokerError {
  return new BrokerError('prefect_unreachable', `profile '${profile}' points at this proxy itself`, {
    hint: `prefect-auth workspace set --profile ${profile}`,
  })
}
