/** Profiles as everyone may see them: what the file says without its secrets, what is effective, and why. */

import { workspaceHandle } from '../prefect/cloud.js'
import type { ProfileEntry, ProfileReading, ResolvedProfile } from '../profiles/profile.js'
import type { ProfileState } from '../serve/credentials.js'
import type { WorkspaceRef } from '../wire/common.js'
import type { ProfileList, ProfileView } from '../wire/profile.js'

const HIDDEN = '[secret]'

/** Settings of Prefect whose values are, or may hold, a secret. */
const SECRET_NAMES = /KEY|SECRET|PASSWORD|PASSPHRASE|TOKEN|AUTH|CREDENTIAL|HEADERS|CONNECTION_URL|DSN/

export function renderProfile(state: ProfileState, entry: ProfileEntry | undefined): ProfileView {
  const { resolved, outcome } = state
  return {
    name: resolved.name,
    active: resolved.isActive,
    source: resolved.source,
    kind: resolved.kind,
    because: resolved.because,
    ...(resolved.apiUrl === undefined ? {} : { api_url: withoutUserinfo(resolved.apiUrl) }),
    ...renderWorkspaceOf(state),
    key: state.keySource,
    auth_string: state.authSource,
    login_required: outcome.kind === 'refused' && outcome.error.kind === 'login',
    settings: renderSettings(entry),
    warnings: [...resolved.warnings],
  }
}

export function renderProfilesFile({ path, state, problem }: ProfileReading): ProfileList['file'] {
  return { path, state, ...(problem === undefined ? {} : { problem }) }
}

/** The workspace with its name, where Prefect has told it. */
export function renderWorkspaceOf(state: ProfileState): { readonly workspace?: WorkspaceRef } {
  const named = state.resolved.workspace
  if (named === undefined) return {}
  const known = state.workspaces.find(({ workspaceId }) => workspaceId === named.workspaceId)
  return {
    workspace: {
      ...(known === undefined ? {} : { handle: workspaceHandle(known) }),
      account_id: named.accountId,
      workspace_id: named.workspaceId,
    },
  }
}

/** `http://user:password@host/api` is a URL that people write; the two stay inside. */
export function withoutUserinfo(url: ResolvedProfile['cloudApiUrl']): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, `$1${HIDDEN}@`)
}

function renderSettings(entry: ProfileEntry | undefined): Record<string, string> {
  const settings = Object.entries(entry?.settings ?? {}).map(([name, value]) => [name, visible(name, value)])
  const secrets = [
    ...(entry?.apiKey === undefined ? [] : [['PREFECT_API_KEY', HIDDEN]]),
    ...(entry?.authString === undefined ? [] : [['PREFECT_API_AUTH_STRING', HIDDEN]]),
  ]
  return Object.fromEntries([...settings, ...secrets])
}

function visible(name: string, value: string): string {
  return SECRET_NAMES.test(name.toUpperCase()) || /p(?:nu|nb|ab)_/.test(value)
    ? HIDDEN
    : withoutUserinfo(value)
}
