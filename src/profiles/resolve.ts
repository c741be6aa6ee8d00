/**
 * Which profile is in effect, and what it resolves to. Pure. The rules are those of `prefect config view`, measured with
 * Prefect 3 and 2.20; if the two differ, Prefect 3 wins and a warning says so:
 *
 * - A table in the file is merged over the built-in profile of the same name: `prefect profile use local` makes `local`
 *   active without writing a table, and means `http://127.0.0.1:4200/api`. (At run time Prefect 3 uses `ephemeral` then,
 *   PrefectHQ/prefect#16118: the environment variables that we serve correct that, and a warning says so.)
 * - `active` is missing, empty, or names no profile: `ephemeral`. Prefect 2 uses `default`.
 * - A profile that is requested by name: its table over the built-in one.
 */

import { BrokerError } from '../base/errors.js'
import { inferCloudUiUrl, isCloudApiUrl, parseHttpUrl, workspaceIdsOf } from '../prefect/api-url.js'
import type { CloudDefaults } from '../prefect/cloud.js'
import { connectionOf } from '../prefect/connection.js'
import {
  isOwnToken,
  isProxyBase,
  type ProxiedUrl,
  proxiedUrlOf,
  unproxiedUrl,
  upstreamUrlOf,
} from '../prefect/proxied.js'
import { defined } from '../std/defined.js'
import { Secret } from '../std/secret.js'
import { BUNDLED_PROFILES, FALLBACK_PROFILE, isBundledProfileName, shownName } from './bundled.js'
import type { ProfileEntry, ProfileFile, ProfileKind, ResolvedProfile } from './profile.js'
import { aliasWarning, differenceNotes, profileNotes, profileWarnings } from './warnings.js'

interface ProfileQuestion {
  readonly file: ProfileFile
  readonly defaults: CloudDefaults
  /** A name; absent or empty: the active profile. */
  readonly requested?: string
}

/** The requested profile, else the active one. Throws `profile_not_found`, which lists the existing ones. */
export function resolveProfile({ file, defaults, requested }: ProfileQuestion): ResolvedProfile {
  const name = requested || activeProfileName(file)
  if (!file.profiles.has(name) && !isBundledProfileName(name)) throw notFound(name, file)
  return resolve(name, file, defaults)
}

/** Every profile: those of the file in its order, then the built-in ones that the file does not have. */
export function listProfiles({ file, defaults }: Omit<ProfileQuestion, 'requested'>): ResolvedProfile[] {
  const names = new Set([...file.profiles.keys(), ...BUNDLED_PROFILES.keys()])
  return [...names].map((name) => resolve(name, file, defaults))
}

/** The name of the active profile, by the rules above. */
export function activeProfileName({ active, profiles }: ProfileFile): string {
  if (!active) return FALLBACK_PROFILE
  return profiles.has(active) || isBundledProfileName(active) ? active : FALLBACK_PROFILE
}

/** `before`: the aliases that led here. */
function resolve(
  name: string,
  file: ProfileFile,
  defaults: CloudDefaults,
  before: readonly string[] = [],
): ResolvedProfile {
  const meant = findMeant(name, file, [...before, name])
  return meant === undefined
    ? resolveTable(name, file, defaults)
    : resolveAlias(name, meant, file, resolve(meant.profile, file, defaults, [...before, name]))
}

/** The profile that an alias stands for, if there is one; no circle of aliases leads anywhere. */
function findMeant(
  name: string,
  { profiles }: ProfileFile,
  before: readonly string[],
): ProxiedUrl | undefined {
  const entry = profiles.get(name)
  const meant = entry && proxiedUrlOf(entry.settings.PREFECT_API_URL ?? '', entry.apiKey ?? entry.authString)
  if (meant === undefined || before.includes(meant.profile)) return undefined
  return profiles.has(meant.profile) || isBundledProfileName(meant.profile) ? meant : undefined
}

/** Everything of the profile that it stands for, but its name and its workspace. */
function resolveAlias(
  name: string,
  { path }: ProxiedUrl,
  file: ProfileFile,
  {
    fileKey: _,
    fileAuthString: __,
    workspace: ___,
    apiUrl: meantUrl,
    notes,
    connection,
    customHeaders,
    ...meant
  }: ResolvedProfile,
): ResolvedProfile {
  const isActive = name === activeProfileName(file)
  const aliasOf = meant.aliasOf ?? meant.name
  const { kind, cloudApiUrl, cloudUiUrl } = meant
  const apiUrl =
    (kind === 'cloud' ? upstreamUrlOf({ profile: name, path }, cloudApiUrl) : undefined) ?? meantUrl
  const workspace = kind === 'cloud' && apiUrl !== undefined ? workspaceIdsOf(apiUrl) : undefined
  return {
    ...{ name, aliasOf, isActive, kind, cloudApiUrl, cloudUiUrl, source: 'file' },
    because: `${becauseOf(name, file, { isActive, isRead: true })}, and stands for profile ${shownName(aliasOf)}`,
    ...defined({ apiUrl, workspace, notes, connection, customHeaders }),
    warnings: [...(isActive ? activeWarnings(name, file) : []), aliasWarning(name, aliasOf, kind)],
  }
}

function resolveTable(name: string, file: ProfileFile, defaults: CloudDefaults): ResolvedProfile {
  const isActive = name === activeProfileName(file)
  const table = file.profiles.get(name)
  const isRead = table !== undefined
  const bundled = BUNDLED_PROFILES.get(name) ?? {}
  const entry =
    table === undefined
      ? { name, settings: bundled }
      : { ...table, settings: { ...bundled, ...table.settings } }
  const cloud = cloudOf(entry, defaults)
  const apiUrl = apiUrlOf(entry, cloud.cloudApiUrl)
  const kind = kindOf(apiUrl, cloud.cloudApiUrl)
  const workspace = kind === 'cloud' && apiUrl !== undefined ? workspaceIdsOf(apiUrl) : undefined
  const known = { entry, kind, cloud, ...defined({ apiUrl }) }
  return {
    name,
    because: becauseOf(name, file, { isActive, isRead }),
    source: isRead ? 'file' : 'bundled',
    isActive,
    kind,
    ...cloud,
    ...defined({ apiUrl, workspace, uiUrl: entry.settings.PREFECT_UI_URL || undefined }),
    ...defined({ hasOldCloudUrl: entry.settings.PREFECT_CLOUD_URL ? (true as const) : undefined }),
    ...secretsOf(entry),
    ...obeyedBeside({ entry, kind, isRead }),
    warnings: [...(isActive ? activeWarnings(name, file) : []), ...(isRead ? profileWarnings(known) : [])],
  }
}

/** An empty URL counts as unset: as a prefix of every URL it would send the Cloud key to every server. */
function cloudOf({ settings }: ProfileEntry, defaults: CloudDefaults): Required<CloudDefaults> {
  const written = settings.PREFECT_CLOUD_API_URL || settings.PREFECT_CLOUD_URL
  const own = written !== undefined && isProxyBase(written) ? undefined : written
  const cloudApiUrl = (own || defaults.cloudApiUrl).replace(/\/+$/, '')
  // The daemon's UI setting goes with its API setting: a profile with another API has another UI.
  const inherited = cloudApiUrl === defaults.cloudApiUrl ? defaults.cloudUiUrl : undefined
  const cloudUiUrl = settings.PREFECT_CLOUD_UI_URL || inherited || inferCloudUiUrl(cloudApiUrl)
  return { cloudApiUrl, cloudUiUrl: cloudUiUrl.replace(/\/+$/, '') }
}

/**
 * A URL that could break out of a header or an env file counts as none, whatever Prefect makes of it. A URL of our own
 * proxy, written by a client that ran through it, is translated back.
 */
function apiUrlOf({ settings }: ProfileEntry, cloudApiUrl: string): string | undefined {
  const url = settings.PREFECT_API_URL
  if (url === undefined || parseHttpUrl(url) === undefined) return undefined
  const proxied = unproxiedUrl(url)
  return proxied === undefined ? url : upstreamUrlOf(proxied, cloudApiUrl)
}

function kindOf(apiUrl: string | undefined, cloudApiUrl: string): ProfileKind {
  if (apiUrl === undefined) return 'none'
  return isCloudApiUrl(apiUrl, cloudApiUrl) ? 'cloud' : 'server'
}

function secretsOf({ apiKey, authString }: ProfileEntry): { fileKey?: Secret; fileAuthString?: Secret } {
  // One of our tokens instead of a key: a client that ran through the proxy wrote it. It is never adopted.
  const foreign = (secret: Secret | undefined) => (secret && isOwnToken(secret) ? undefined : secret)
  return defined({ fileKey: foreign(apiKey), fileAuthString: foreign(authString) })
}

function obeyedBeside({
  entry,
  kind,
  isRead,
}: {
  entry: ProfileEntry
  kind: ProfileKind
  isRead: boolean
}): Pick<ResolvedProfile, 'notes' | 'customHeaders' | 'connection'> {
  const headers = entry.settings.PREFECT_CLIENT_CUSTOM_HEADERS
  const notes = [...profileNotes(entry), ...differenceNotes({ entry, kind, isRead })]
  return defined({
    notes: notes.length > 0 ? notes : undefined,
    connection: connectionOf(entry.settings),
    customHeaders: headers === undefined ? undefined : new Secret(headers),
  })
}

function becauseOf(
  name: string,
  { active, profiles }: ProfileFile,
  { isActive, isRead }: { isActive: boolean; isRead: boolean },
): string {
  if (!isActive) {
    return isRead
      ? `profile ${shownName(name)} is in profiles.toml`
      : `profile ${shownName(name)} is built into Prefect`
  }
  if (isRead && active === name) return `profile ${shownName(name)} is active in profiles.toml`
  const old = profiles.has('default') ? ", and Prefect 2 the profile 'default'" : ''
  const builtIn = `Prefect${old && ' 3'} uses its built-in ${shownName(name)}${old}`
  if (!active) return `profiles.toml names no active profile, so ${builtIn}`
  return active === name
    ? `profile ${shownName(name)} is active in profiles.toml, and built into Prefect`
    : `profiles.toml names ${shownName(active)} as active, which does not exist, so ${builtIn}`
}

/** Warnings if the choice is surprising, or Prefect 2 and 3 differ. */
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
      `Prefect itself runs as 'ephemeral' until the file has a table for the profile ${shownName(name)}; run: prefect-auth profile set ${name} --api-url ${url}`,
    )
  }
  if (profiles.has(name)) {
    warnings.push(
      `Prefect itself ignores the table of ${shownName(name)} unless 'active' names it; run: prefect-auth profile use ${name}`,
    )
  }
  if (profiles.has('default') && name !== 'default') {
    warnings.push(`Prefect 2 would use the profile 'default' here; run: prefect-auth profile use NAME`)
  }
  return warnings
}

function notFound(name: string, file: ProfileFile): BrokerError {
  const names = [...new Set([...file.profiles.keys(), ...BUNDLED_PROFILES.keys()])]
    .slice(0, 20)
    .map(shownName)
  return new BrokerError(
    'profile_not_found',
    `there is no profile ${shownName(name)}; existing profiles: ${names.join(', ')}`,
    {
      hint: 'prefect-auth profile ls',
    },
  )
}
