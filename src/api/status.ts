/** The status snapshot on the wire, cut down to what the caller may see. No secrets. */

import type { ProxyTraffic } from '../proxy/traffic.js'
import type { RenewalView } from '../renewal/view.js'
import type { ProfileState } from '../serve/credentials.js'
import type { DaemonFacts, StatusSnapshot } from '../status/status.js'
import { type Caller, reachesProfile } from '../tokens/access.js'
import type { VaultDescription } from '../vault/vault.js'
import type { ProfileStatus, Ready, Status } from '../wire/status.js'
import { renderKey, renderOwner, renderTime } from './render.js'
import { renderProfilesFile, renderWorkspaceOf, withoutUserinfo } from './render-profile.js'
import { renderRenewal } from './render-renewal.js'
import { renderTraffic, visibleTraffic } from './render-traffic.js'
import { seesAll } from './scope.js'

export function renderStatus(
  snapshot: StatusSnapshot,
  traffic: readonly ProxyTraffic[],
  caller: Caller,
): Status {
  const mine = (profile: string) => reachesProfile(caller, profile)
  return {
    daemon: renderDaemon(snapshot.daemon),
    listeners: snapshot.listeners.map(({ door, address, state, problem, inherited }) => ({
      door,
      address,
      state,
      ...(problem === undefined ? {} : { problem }),
      ...(inherited === undefined ? {} : { inherited }),
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
    proxy: visibleTraffic(traffic, caller).map(renderTraffic),
    // Sentences may name any profile.
    notices: seesAll(caller) ? [...snapshot.notices] : [],
  }
}

function renderDaemon(daemon: DaemonFacts): Status['daemon'] {
  return {
    version: daemon.version,
    pid: daemon.pid,
    started_at: renderTime(daemon.startedAt),
    node: daemon.node,
    state_dir: daemon.stateDir,
    ...(daemon.configFile === undefined ? {} : { config_file: daemon.configFile }),
    log_level: daemon.logLevel,
  }
}

export function renderVault(vault: VaultDescription): Status['vault'] {
  return {
    backend: vault.backend,
    at_rest: vault.atRest,
    because: vault.because,
    state: vault.state,
    ...(vault.problem === undefined ? {} : { problem: { ...vault.problem } }),
  }
}

function renderProfileStatus(state: ProfileState, renewal: RenewalView | undefined): ProfileStatus {
  const { resolved, owner, key } = state
  return {
    name: resolved.name,
    active: resolved.isActive,
    kind: resolved.kind,
    because: resolved.because,
    ...(resolved.apiUrl === undefined ? {} : { api_url: withoutUserinfo(resolved.apiUrl) }),
    ...renderWorkspaceOf(state),
    ...(owner === undefined ? {} : { owner: renderOwner(owner) }),
    ...(key === undefined ? {} : { key: renderKey(key) }),
    key_source: state.keySource,
    generation: state.generation,
    ...readiness(state),
    ...(renewal === undefined ? {} : { renewal: renderRenewal(renewal) }),
    notices: [...state.notices],
  }
}

/** Whether there is something to serve, and if not, or not for long, why and what helps. */
export function renderReady(state: ProfileState, renewal: RenewalView | undefined): Ready {
  const answer = readiness(state)
  if (!answer.ready || renewal?.trouble === undefined) return answer
  return { ...answer, degraded: renewal.trouble.message, hint: renewal.trouble.hint }
}

function readiness({ outcome }: ProfileState): Pick<Ready, 'ready' | 'reason' | 'hint'> {
  if (outcome.kind === 'served') return { ready: true }
  const { message, hint } = outcome.error
  return { ready: false, reason: message, ...(hint === undefined ? {} : { hint }) }
}
