/** The status snapshot on the wire, cut down to what the caller may see. No secrets. */
import { type Caller, reachesProfile } from '../domain/access.js'
import type { ProfileState } from '../domain/credentials.js'
import type { DaemonFacts, StatusSnapshot } from '../domain/status.js'
import type { VaultDescription } from '../domain/vault.js'
import type { ProfileStatus, Ready, Status } from '../wire/status.js'
import { renderKey, renderOwner, renderTime } from './render-key.js'
import { renderProfilesFile, renderWorkspaceOf, withoutUserinfo } from './render-profile.js'
import { seesAll } from './scope.js'

export function renderStatus(snapshot: StatusSnapshot, caller: Caller): Status {
  const mine = (profile: string) => reachesProfile(caller, profile)
  return {
    daemon: renderDaemon(snapshot.daemon),
    listeners: snapshot.listeners.map(({ door, address, state, problem }) => ({
      door,
      address,
      state,
      ...(problem === undefined ? {} : { problem }),
    })),
    vault: renderVault(snapshot.vault),
    profiles_file: renderProfilesFile(snapshot.reading),
    active: snapshot.active,
    profiles: snapshot.profiles.filter(({ resolved }) => mine(resolved.name)).map(renderProfileStatus),
    logins: snapshot.logins
      .filter(({ profile }) => mine(profile))
      .map(({ id, profile, state, expiresAt }) => ({
        id,
        profile,
        state,
        expires_at: renderTime(expiresAt),
      })),
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

function renderProfileStatus(state: ProfileState): ProfileStatus {
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
    ...renderReady(state),
    notices: [...state.notices],
  }
}

/** Whether there is something to serve, and if not, why and what helps. */
export function renderReady({ outcome }: ProfileState): Ready {
  if (outcome.kind === 'served') return { ready: true }
  const { message, hint } = outcome.error
  return { ready: false, reason: message, ...(hint === undefined ? {} : { hint }) }
}
