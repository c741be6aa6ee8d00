/** Which profile a login is for, and which endpoints count for it. */
import { BrokerError } from '../base/errors.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { inferCloudUiUrl } from '../prefect/api-url.js'
import type { CloudDefaults } from '../prefect/cloud.js'
import { isBundledProfileName, requireNewProfileName, shownName } from '../profiles/bundled.js'
import type { ProfileStore, ResolvedProfile } from '../profiles/profile.js'
import { resolveProfile } from '../profiles/resolve.js'
import { loginCommand } from '../std/text.js'
import type { LoginTarget } from './login.js'

interface FindLoginTargetDeps {
  readonly store: ProfileStore
  readonly keeper: KeyKeeper
  readonly defaults: CloudDefaults
}

const DEFAULT_PROFILE = 'cloud'

/**
 * Without a name the active profile; where that is one of Prefect's bundled ones, `cloud`, which then becomes active. A name
 * that does not exist yet is a new profile. Rejects with `profile_not_cloud`, `profile_name_invalid`, `profiles_file_invalid`.
 */
export async function findLoginTarget(deps: FindLoginTargetDeps, requested?: string): Promise<LoginTarget> {
  const { store, keeper, defaults } = deps
  const { file, state, path, problem } = await store.refresh({ force: true })
  if (state === 'invalid' || state === 'unreadable') {
    const code = state === 'invalid' ? 'profiles_file_invalid' : 'profiles_file_unreadable'
    throw new BrokerError(code, `the login could not be written into ${path}: ${problem ?? state}`, {
      hint: 'mend the file, then prefect-auth login',
    })
  }
  const active = resolveProfile({ file, defaults }).name
  const isReplacing = requested === undefined && isBundledProfileName(active) && active !== DEFAULT_PROFILE
  const name = requested ?? (isReplacing ? DEFAULT_PROFILE : active)
  const isKnown = file.profiles.has(name) || isBundledProfileName(name)
  if (!isKnown) requireNewProfileName(name)
  const resolved = isKnown ? resolveProfile({ file, defaults, requested: name }) : undefined
  if (resolved?.kind === 'server') throw notCloud(resolved)
  const { owner } = keeper.profile(name)
  const cloudApiUrl = resolved?.cloudApiUrl ?? defaults.cloudApiUrl
  return {
    profile: name,
    cloudApiUrl,
    cloudUiUrl: resolved?.cloudUiUrl ?? defaults.cloudUiUrl ?? inferCloudUiUrl(cloudApiUrl),
    ...(owner ? { owner } : {}),
    ...(resolved?.workspace ? { workspaceId: resolved.workspace.workspaceId } : {}),
    ...(isReplacing ? { isToBeActive: true } : {}),
  }
}

function notCloud({ name, apiUrl }: ResolvedProfile): BrokerError {
  return new BrokerError(
    'profile_not_cloud',
    `profile ${shownName(name)} points at a Prefect server of your own (${apiUrl ?? 'no URL'}), which knows no API keys`,
    { hint: loginCommand(DEFAULT_PROFILE) },
  )
}

/**
 * `{UI}/auth/client?callback=http%3A//localhost%3A<port>&g=true`: Python's `quote` leaves the slashes, and so do we.
 * `g=true` asks the page to deliver by a top-level GET.
 */
export function loginUrl(cloudUiUrl: string, callbackUrl: string): string {
  const quoted = callbackUrl.replaceAll(':', '%3A')
  return `${cloudUiUrl.replace(/\/+$/, '')}/auth/client?callback=${quoted}&g=true`
}

/** The only `Origin` that may post to the callback. Throws `api_url_invalid`. */
export function uiOrigin(cloudUiUrl: string): string {
  const url = URL.canParse(cloudUiUrl) ? new URL(cloudUiUrl) : undefined
  // Other schemes have the opaque origin "null", which any sandboxed frame on any site can send.
  if (url && (url.protocol === 'https:' || url.protocol === 'http:')) return url.origin
  throw new BrokerError(
    'api_url_invalid',
    'starting a login failed: PREFECT_CLOUD_UI_URL is not a web address',
    {
      hint: 'set PREFECT_CLOUD_UI_URL to something like https://app.prefect.cloud',
    },
  )
}
