/** Status and doctor: one snapshot of everything that the caller may see, and the checks. No secrets. */

import type { ApiServer } from '../../http/schema.js'
import type { ProxyTraffic, Strangers } from '../../proxy/traffic.js'
import type { RenewalView } from '../../renewal/view.js'
import type { ProfileState } from '../../serve/credentials.js'
import { judgeCrowds } from '../../status/listeners.js'
import type { DaemonFacts, StatusSnapshot } from '../../status/status.js'
import { defined } from '../../std/defined.js'
import { type Caller, reachesProfile } from '../../tokens/access.js'
import { doctor, doctorQuery, type ProfileStatus, type Status, status } from '../../wire/status.js'
import type { RouteContext } from '../context.js'
import { renderVault } from '../daemon.js'
import { renderKeptFile } from '../files.js'
import { renderRenewal } from '../keys.js'
import { renderProfilesFile, renderWorkspaceOf } from '../profiles.js'
import { renderKey, renderOwner, renderTime, seesAll, withoutUserinfo } from '../view.js'
import { readiness } from './health.js'
import { renderTraffic, visibleTraffic } from './metrics.js'

export function statusRoutes(api: ApiServer, context: RouteContext): void {
  const { credentials, files, guard, inspection, proxyTraffic, proxyStrangers, crowds, clock } = context
  api.get(
    '/v1/status',
    {
      config: { onPage: true, needs: 'inspect', summary: 'One snapshot of everything' },
      schema: { response: { 200: status } },
    },
    async (request, reply) => {
      await credentials.refresh()
      const proxy = { traffic: proxyTraffic(), strangers: proxyStrangers() }
      const caller = guard.callerOf(request)
      const kept = seesAll(caller) ? files.list().map(renderKeptFile) : []
      return reply.send({ ...renderStatus(inspection.status(), proxy, caller), files: kept })
    },
  )
  api.get(
    '/v1/doctor',
    {
      config: { onPage: true, needs: 'inspect', summary: 'Run the checks now: verdict, finding and remedy' },
      schema: { querystring: doctorQuery, response: { 200: doctor } },
    },
    async (request, reply) => {
      const { profile, check } = request.query
      await credentials.refresh()
      // Throws for a profile that there is not; a check of its own would only be `unknown`.
      if (profile !== undefined) credentials.state(profile)
      // It may name any token.
      const seen = seesAll(guard.callerOf(request)) ? crowds() : []
      const connections = { name: 'connections', ...judgeCrowds(seen, clock.now()) }
      const found = await inspection.doctor(defined({ profile, check }))
      const checks = check === undefined ? [...found, connections] : found
      return reply.send({
        checks: checks.map(({ name, verdict, finding, remedy }) => ({
          name,
          verdict,
          finding,
          ...defined({ remedy }),
        })),
      })
    },
  )
}

interface ProxyFacts {
  readonly traffic: readonly ProxyTraffic[]
  readonly strangers: Strangers
}

function renderStrangers({ refused, lastAt }: Strangers): Status['proxy_strangers'] {
  return refused === 0 ? undefined : { refused, ...defined({ last_at: renderTime(lastAt) }) }
}

function renderStatus(snapshot: StatusSnapshot, proxy: ProxyFacts, caller: Caller): Omit<Status, 'files'> {
  const mine = (profile: string) => reachesProfile(caller, profile)
  return {
    daemon: renderDaemon(snapshot.daemon),
    listeners: snapshot.listeners.map(({ door, address, state, problem, inherited }) => ({
      door,
      address,
      state,
      ...defined({ problem, inherited }),
    })),
    vault: renderVault(snapshot.vault),
    profiles_file: renderProfilesFile(snapshot.reading),
    active: snapshot.active,
    profiles: snapshot.profiles
      .filter(({ resolved }) => mine(resolved.name))
      .map((state) => renderProfileStatus(state, snapshot.renewals.get(state.resolved.name))),
    logins: snapshot.logins
      .filter(({ profile }) => mine(profile))
      .map(({ id, profile, state, expiresAt }) => ({
        id,
        profile,
        state,
        expires_at: renderTime(expiresAt),
      })),
    proxy: visibleTraffic(proxy.traffic, caller).map(renderTraffic),
    ...defined({ proxy_strangers: renderStrangers(proxy.strangers) }),
    // A notice may name any profile.
    notices: seesAll(caller) ? [...snapshot.notices] : [],
  }
}

function renderDaemon(daemon: DaemonFacts): Status['daemon'] {
  return {
    version: daemon.version,
    pid: daemon.pid,
    started_at: renderTime(daemon.startedAt),
    node: daemon.node,
    recogniser: daemon.recogniser,
    state_dir: daemon.stateDir,
    ...defined({ config_file: daemon.configFile, on_demand: daemon.isOnDemand || undefined }),
    log_level: daemon.logLevel,
  }
}

function renderProfileStatus(state: ProfileState, renewal: RenewalView | undefined): ProfileStatus {
  const { resolved, owner, key } = state
  return {
    name: resolved.name,
    active: resolved.isActive,
    kind: resolved.kind,
    because: resolved.because,
    ...defined({
      alias_of: resolved.aliasOf,
      api_url: resolved.apiUrl && withoutUserinfo(resolved.apiUrl),
      workspace: renderWorkspaceOf(state),
      owner: owner && renderOwner(owner),
      key: key && renderKey(key),
    }),
    key_source: state.keySource,
    ...defined({ state: state.standing?.kind }),
    generation: state.generation,
    ...readiness(state),
    ...defined({ renewal: renewal && renderRenewal(renewal) }),
    notices: [...state.notices],
  }
}
