/**
 * Pure: which profile counts, and what it comes to. The rules are those of Prefect's clients at run time, measured with
 * 3.9.1 and 2.20; where the two differ, Prefect 3 counts, and a warning says so:
 *
 * - `active` names a table of the file: that table, alone. (`prefect config view` merges a bundled profile of the same
 *   name into what it shows; no client does at run time.)
 * - `active` names a bundled profile that has no table (`prefect profile use local` leaves that): the name counts, its
 *   settings do not. Prefect 3 runs with those of `ephemeral` (PrefectHQ/prefect#16118), Prefect 2 with `default`.
 * - `active` is missing, empty, or names nothing at all: `ephemeral`, without a look at a table of that name in the file.
 *   Prefect 2 takes `default`.
 * - A profile that is asked for by name: its table, else the bundled one.
 */
import type { Secret } from '../std/secret.js'
import { inferCloudUiUrl, isCloudApiUrl, parseHttpUrl, workspaceIdsOf } from './api-url.js'
import { BrokerError } from './errors.js'
import type { CloudDefaults, ProfileEntry, ProfileFile, ProfileKind, ResolvedProfile } from './profile.js'
import { BUNDLED_PROFILES, FALLBACK_PROFILE, isBundledProfileName, shownName } from './profile-names.js'
import { profileWarnings } from './profile-warnings.js'

export interface ProfileQuestion {
  readonly file: ProfileFile
  readonly defaults: CloudDefaults
  /** A name; absent or empty: the active profile. */
  readonly requested?: string
}

/** The profile asked for, else the active one. Throws `profile_not_found`, which names those there are. */
export function resolveProfile({ file, defaults, requested }: ProfileQuestion): ResolvedProfile {
  const name = requested || activeProfileName(file)
  if (!file.profiles.has(name) && !isBundledProfileName(name)) throw notFound(name, file)
  return resolve(name, file, defaults)
}

/** Every profile there is: those of the file in its order, then Prefect's own that the file does not have. */
export function listProfiles({ file, defaults }: Omit<ProfileQuestion, 'requested'>): ResolvedProfile[] {
  const names = new Set([...file.profiles.keys(), ...BUNDLED_PROFILES.keys()])
  return [...names].map((name) => resolve(name, file, defaults))
}

/** The name of the active profile, by the rules above. */
export function activeProfileName({ active, profiles }: ProfileFile): string {
  if (!active) return FALLBACK_PROFILE
  return profiles.has(active) || isBundledProfileName(active) ? active : FALLBACK_PROFILE
}

function resolve(name: string, file: ProfileFile, defaults: CloudDefaults): ResolvedProfile {
  const isActive = name === activeProfileName(file)
  const table = file.profiles.get(name)
  const isRead = table !== undefined && (!isActive || file.active === name)
  const entry = isRead ? table : bundledEntry(name, isActive)
  const cloud = cloudOf(entry, defaults)
  const apiUrl = apiUrlOf(entry)
  const kind = kindOf(apiUrl, cloud.cloudApiUrl)
  const workspace = kind === 'cloud' && apiUrl !== undefined ? workspaceIdsOf(apiUrl) : undefined
  const known = { entry, kind, cloud, ...(apiUrl === undefined ? {} : { apiUrl }) }
  return {
    name,
    because: becauseOf(name, file, { isActive, isRead }),
    source: isRead ? 'file' : 'bundled',
    isActive,
    kind,
    ...cloud,
    ...(apiUrl === undefined ? {} : { apiUrl }),
    ...(workspace === undefined ? {} : { workspace }),
    ...secretsOf(entry),
    warnings: [...(isActive ? activeWarnings(name, file) : []), ...(isRead ? profileWarnings(known) : [])],
  }
}

/** What a bundled profile sets; the active one sets nothing, because Prefect runs with `ephemeral` in its place. */
function bundledEntry(name: string, isActive: boolean): ProfileEntry {
  return { name, settings: isActive ? {} : (BUNDLED_PROFILES.get(name) ?? {}) }
}

/** Empty is unset here: an empty base would be a prefix of every URL, and every server would be sent Cloud's key. */
function cloudOf({ settings }: ProfileEntry, defaults: CloudDefaults): Required<CloudDefaults> {
  const own = settings.PREFECT_CLOUD_API_URL || settings.PREFECT_CLOUD_URL
  const cloudApiUrl = (own || defaults.cloudApiUrl).replace(/\/+$/, '')
  // The daemon's UI belongs to the daemon's API: a profile with an API of its own has a UI of its own.
  const inherited = cloudApiUrl === defaults.cloudApiUrl ? defaults.cloudUiUrl : undefined
  const cloudUiUrl = settings.PREFECT_CLOUD_UI_URL || inherited || inferCloudUiUrl(cloudApiUrl)
  return { cloudApiUrl, cloudUiUrl: cloudUiUrl.replace(/\/+$/, '') }
}

/** A URL that could break out of a header or an env file is no URL, whatever Prefect makes of it. */
function apiUrlOf({ settings }: ProfileEntry): string | undefined {
  const url = settings.PREFECT_API_URL
  return url === undefined || parseHttpUrl(url) === undefined ? undefined : url
}

function kindOf(apiUrl: string | undefined, cloudApiUrl: string): ProfileKind {
  if (apiUrl === undefined) return 'none'
  return isCloudApiUrl(apiUrl, cloudApiUrl) ? 'cloud' : 'server'
}

function secretsOf({ apiKey, authString }: ProfileEntry): { fileKey?: Secret; fileAuthString?: Secret } {
  return {
    ...(apiKey === undefined ? {} : { fileKey: apiKey }),
    ...(authString === undefined ? {} : { fileAuthString: authString }),
  }
}

function becauseOf(
  name: string,
  { active, profiles }: ProfileFile,
  { isActive, isRead }: { isActive: boolean; isRead: boolean },
): string {
  if (!isActive) {
    return isRead
      ? `profile ${shownName(name)} stands in profiles.toml`
      : `profile ${shownName(name)} is one that Prefect brings along`
  }
  if (isRead) return `profile ${shownName(name)} is active in profiles.toml`
  if (!active) return `profiles.toml names no active profile, so Prefect's own ${shownName(name)} counts`
  return active === name
    ? `profile ${shownName(name)} is active in profiles.toml; it is one that Prefect brings along`
    : `profiles.toml names ${shownName(active)} as active, which does not exist, so Prefect's own ${shownName(name)} counts` +
        (profiles.has(name) ? ', without the table of that name' : '')
}

/** Where a person would be surprised by which profile counts, and where the two Prefects differ. */
function activeWarnings(name: string, { active, profiles }: ProfileFile): string[] {
  if (active && profiles.has(active)) return []
  const warnings: string[] = []
  const url = BUNDLED_PROFILES.get(name)?.PREFECT_API_URL
  if (active && active !== name) {
    warnings.push(
      `profiles.toml names ${shownName(active)} as active, but there is no such profile; run: prefect-auth profile use NAME`,
    )
  }
  if (url !== undefined) {
    warnings.push(
      `Prefect shows ${url} for the profile ${shownName(name)}, but runs as 'ephemeral' while the file has no table of that name; run: prefect-auth profile set ${name} --api-url ${url}`,
    )
  }
  if (profiles.has(name)) {
    warnings.push(
      `Prefect 3 does not read the table of ${shownName(name)} while 'active' does not name it; run: prefect-auth profile use ${name}`,
    )
  }
  if (profiles.has('default') && name !== 'default') {
    warnings.push(`Prefect 2 would take the profile 'default' here; run: prefect-auth profile use NAME`)
  }
  return warnings
}

function notFound(name: string, file: ProfileFile): BrokerError {
  const names = [...new Set([...file.profiles.keys(), ...BUNDLED_PROFILES.keys()])]
    .slice(0, 20)
    .map(shownName)
  return new BrokerError(
    'profile_not_found',
    `there is no profile ${shownName(name)}; there are ${names.join(', ')}`,
    {
      hint: 'prefect-auth profile ls',
    },
  )
}
