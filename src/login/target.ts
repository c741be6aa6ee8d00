/** Where a login leads: its profile, the endpoints that count for it, and the page it opens. */

import { BrokerError } from '../base/errors.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { requireUnshared } from '../keys/shared.js'
import { inferCloudUiUrl } from '../prefect/api-url.js'
import type { CloudDefaults, Owner } from '../prefect/cloud.js'
import {
  CLOUD_PROFILE,
  isBundledProfileName,
  isNeverCloud,
  requireNewProfileName,
  shownName,
} from '../profiles/bundled.js'
import type { ProfileReading, ProfileStore } from '../profiles/profile.js'
import { resolveProfile } from '../profiles/resolve.js'
import { defined } from '../std/defined.js'
import { loginCommand } from '../std/text.js'

/** The profile a login is for, with the endpoints that count for it. */
export interface LoginTarget {
  readonly profile: string
  readonly cloudApiUrl: string
  readonly cloudUiUrl: string
  /** The owner stored for this profile: a different one needs `switchOwner`. */
  readonly owner?: Owner
  /** The workspace in the profile's current URL. */
  readonly workspaceId?: string
  /** The login was for "the active profile", which is a bundled one: this profile replaces it. */
  readonly isToBeActive?: boolean
}

/**
 * The active profile if none is requested; if that is one of Prefect's bundled ones, `cloud`, which then becomes active. A
 * name that does not exist yet is a new profile. Rejects with `profile_not_cloud`, `profile_name_invalid`, `profile_in_use` (it
 * has a shared key), `profiles_file_invalid` or `profiles_file_unreadable`.
 */
export async function findLoginTarget(
  {
    store,
    keeper,
    defaults,
  }: { readonly store: ProfileStore; readonly keeper: KeyKeeper; readonly defaults: CloudDefaults },
  requested?: string,
): Promise<LoginTarget> {
  const reading = await store.refresh({ force: true })
  requireWritable(reading)
  const { file } = reading
  const active = resolveProfile({ file, defaults }).name
  const isReplacing = requested === undefined && isNeverCloud(active)
  const name = requested ?? (isReplacing ? CLOUD_PROFILE : active)
  const isKnown = file.profiles.has(name) || isBundledProfileName(name)
  if (!isKnown) requireNewProfileName(name)
  requireUnshared(keeper.ledger(), name)
  const resolved = isKnown ? resolveProfile({ file, defaults, requested: name }) : undefined
  if (resolved?.kind === 'server') throw notCloud(resolved)
  // `default` in the file is where users of Prefect 2 have all their settings.
  const isOwn = name === 'default' && resolved?.source === 'file'
  if (resolved?.kind === 'none' && isNeverCloud(name) && !isOwn) throw bundled(name)
  const cloudApiUrl = resolved?.cloudApiUrl ?? defaults.cloudApiUrl
  return {
    profile: name,
    cloudApiUrl,
    cloudUiUrl: resolved?.cloudUiUrl ?? defaults.cloudUiUrl ?? inferCloudUiUrl(cloudApiUrl),
    ...defined({
      owner: keeper.profile(name).owner,
      workspaceId: resolved?.workspace?.workspaceId,
      isToBeActive: isReplacing ? true : undefined,
    }),
  }
}

/** Throws `profiles_file_invalid` or `profiles_file_unreadable` if a login could not be written to the file. */
export function requireWritable({ state, path, problem }: ProfileReading): void {
  if (state !== 'invalid' && state !== 'unreadable') return
  throw new BrokerError(
    state === 'invalid' ? 'profiles_file_invalid' : 'profiles_file_unreadable',
    `cannot write the login to ${path}: ${problem ?? state}`,
    { hint: `fix ${path}, then run: prefect-auth login` },
  )
}

function notCloud({ name, apiUrl }: { readonly name: string; readonly apiUrl?: string }): BrokerError {
  const message = `profile ${shownName(name)} points to a self-hosted Prefect server (${apiUrl ?? 'no URL'}), which uses no API keys`
  return new BrokerError('profile_not_cloud', message, { hint: loginCommand(CLOUD_PROFILE) })
}

function bundled(name: string): BrokerError {
  const message = `profile ${shownName(name)} is one of Prefect's own, which a login does not turn into a profile of Prefect Cloud`
  return new BrokerError('profile_not_cloud', message, { hint: loginCommand(CLOUD_PROFILE) })
}

/**
 * `{UI}/auth/client?callback=http%3A//localhost%3A<port>&g=true`: Python's `quote` keeps the slashes, and so do we.
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
  throw new BrokerError('api_url_invalid', 'cannot start a login: PREFECT_CLOUD_UI_URL is not an HTTP URL', {
    hint: 'set PREFECT_CLOUD_UI_URL to a URL such as https://app.prefect.cloud',
  })
}
