/** Who may send what through the proxy: the guard's rules, a token of ours, its profile, its paths. */
import type { IncomingMessage } from 'node:http'
import { BrokerError } from '../base/errors.js'
import { refuseForeign, tokenRequired } from '../http/guard.js'
import type { WorkspaceIds } from '../prefect/api-url.js'
import { type ProxyTarget, parseProxyTarget, tokenInHeader } from '../prefect/proxied.js'
import type { ProfileState, Served } from '../serve/credentials.js'
import { type Caller, requirePower, requireProfile } from '../tokens/access.js'
import type { KnownToken } from '../tokens/tokens.js'
import type { ProxyDeps } from './deps.js'
import { singleHeader } from './headers.js'
import { findPathFlaw } from './path.js'
import type { Upstream } from './upstream.js'

/** A caller, as far as it is known. `stranger`: no token yet, on a door that needs one. */
export interface Visitor {
  readonly caller: Caller
  readonly token?: KnownToken
  readonly isStranger: boolean
}

/** A request that may go: whose it is, and where to. */
export interface Visit extends Visitor {
  readonly target: ProxyTarget
  readonly served: Served
  readonly upstream: Upstream
}

/** Throws the refusal. `mayUpgrade`: a WebSocket handshake, which may show its token later. */
export function identifyVisitor(
  request: IncomingMessage,
  { doorkeeper, tokens }: ProxyDeps,
  { mayUpgrade = false } = {},
): Visitor {
  const entrance = doorkeeper.entranceOf(request.socket)
  refuseForeign(request, entrance, { mayUpgrade })
  const presented = singleHeader(request.rawHeaders, 'authorization')
  if (presented.kind === 'many') throw new BrokerError('bad_request', 'there is more than one Authorization')
  if (presented.kind === 'none') {
    const isStranger = entrance.door !== 'socket'
    if (isStranger && !(mayUpgrade && authenticatesByFrame(request))) throw tokenRequired()
    return { caller: { door: entrance.door }, isStranger }
  }
  const text = tokenInHeader(presented.value)
  const token = text === undefined ? undefined : tokens.recognise(text)
  if (token === undefined) throw notOurs()
  return { caller: { door: entrance.door, token }, token, isStranger: false }
}

/** A key of somebody else's, or a token that has died: never passed on. */
function notOurs(): BrokerError {
  return new BrokerError('token_invalid', 'Invalid authentication credentials', {
    hint: 'the proxy takes living tokens of its own only: prefect-auth token ls',
  })
}

/** Prefect's clients offer `prefect` where the first frame authenticates. */
export function authenticatesByFrame({ headers }: IncomingMessage): boolean {
  const offered = headers['sec-websocket-protocol'] ?? ''
  return offered.split(',').some((each) => each.trim() === 'prefect')
}

/** Throws where the caller may not, `login_required` and the like where nothing can be served now. */
export async function admit(
  request: IncomingMessage,
  visitor: Visitor,
  { credentials, ownAddresses, upstreamOf }: ProxyDeps,
): Promise<Visit> {
  const target = parseProxyTarget(request.url ?? '')
  if (target === undefined) {
    throw new BrokerError('not_found', 'nothing is proxied at this path', {
      hint: '/proxy/PROFILE/api/… is what a job gets from prefect-auth exec --proxy',
    })
  }
  if (!visitor.isStranger) requireReach(visitor.caller, target.profile)
  await credentials.refresh()
  const state = credentials.state(target.profile)
  const served = credentials.serve(target.profile)
  const upstream = upstreamOf(state.resolved)
  if (upstream === undefined) throw withoutApi(target.profile)
  refusePath(request.method ?? '', target, state, visitor)
  if (ownAddresses().includes(upstream.host)) {
    throw new BrokerError('prefect_unreachable', `profile '${target.profile}' points at this proxy itself`, {
      hint: `prefect-auth workspace set --profile ${target.profile}`,
    })
  }
  return { ...visitor, target, served, upstream }
}

/** Throws `power_missing`, `profile_not_allowed`. */
export function requireReach(caller: Caller, profile: string): void {
  requirePower(caller, 'proxy')
  requireProfile(caller, profile)
}

function withoutApi(profile: string): BrokerError {
  return new BrokerError('profile_not_cloud', `profile '${profile}' has no API URL to go to`, {
    hint: `prefect-auth login --profile ${profile}`,
  })
}

function refusePath(
  method: string,
  { path, profile }: ProxyTarget,
  { resolved }: ProfileState,
  { token }: Visitor,
): void {
  const scope =
    resolved.kind === 'cloud'
      ? { kind: 'cloud' as const, workspaces: ownWorkspaces(resolved.workspace, token?.workspace) }
      : { kind: 'server' as const }
  const flaw = findPathFlaw(method, path, scope)
  if (flaw === undefined) return
  throw new BrokerError('proxy_path_refused', `this path does not go through the proxy: ${flaw}`, {
    hint: `prefect-auth profile inspect ${profile}`,
  })
}

/** The profile's own, and the one it had when the token was made: a running job stays where it began. */
function ownWorkspaces(...ids: readonly (WorkspaceIds | undefined)[]): readonly WorkspaceIds[] {
  return ids.filter((one) => one !== undefined)
}

const EVERY_MS = 3_600_000
const MAX_NOTES = 1_000

export function createUseNotes({ trail, clock }: Pick<ProxyDeps, 'trail' | 'clock'>) {
  const notes = new Map<string, number>()
  return (request: IncomingMessage, { caller }: Visitor, profile: string): void => {
    const name = `${caller.door} ${caller.token?.id ?? ''} ${profile}`
    const now = clock.monotonic()
    const last = notes.get(name)
    if (last !== undefined && now - last < EVERY_MS) return
    if (notes.size >= MAX_NOTES) notes.clear()
    notes.set(name, now)
    trail.done(request, caller, 'proxy', { profile })
  }
}
