/** Warnings about a profile: what is wrong and how to fix it, one sentence each, never with a secret. */

import { isPageUrl, parseHttpUrl, workspaceIdsOf } from '../prefect/api-url.js'
import type { CloudDefaults } from '../prefect/cloud.js'
import { customHeaders, isUnverified } from '../prefect/connection.js'
import { isOwnToken, unproxiedUrl } from '../prefect/proxied.js'
import { cleanText, quoteWord } from '../std/text.js'
import { isUnknownToPrefect2, OUR_SETTINGS, shownName } from './bundled.js'
import type { ProfileEntry, ProfileKind } from './profile.js'

interface ProfileFindings {
  readonly entry: ProfileEntry
  readonly kind: ProfileKind
  readonly apiUrl?: string
  readonly cloud: CloudDefaults
}

/** All warnings about one table of the file, the most urgent first. */
export function profileWarnings(findings: ProfileFindings): string[] {
  const warnings = [
    ...urlWarnings(findings),
    ...secretWarnings(findings),
    ...typeWarnings(findings.entry),
    ...noteWarnings(findings.entry),
    ...aliasWarnings(findings.entry),
    ...oldClientWarnings(findings.entry),
  ]
  return warnings.filter((warning) => warning !== undefined)
}

/**
 * Settings that Prefect's clients obey beside the key or in place of it, one sentence each, without a value. They are comments in
 * the text of `env`, so nothing of the file may be in them.
 */
export function profileNotes({ settings }: ProfileEntry): string[] {
  return [
    hasAuthorization(settings.PREFECT_CLIENT_CUSTOM_HEADERS) ? AUTHORIZATION : undefined,
    isUnverified(settings)
      ? 'PREFECT_API_TLS_INSECURE_SKIP_VERIFY of the profile switches the verification of TLS certificates off, for the daemon and its proxy as well'
      : undefined,
    settings.PREFECT_API_SSL_CERT_FILE
      ? 'PREFECT_API_SSL_CERT_FILE of the profile decides which TLS certificates are trusted'
      : undefined,
  ].filter((note) => note !== undefined)
}

/** What a plain Prefect does otherwise than a job of ours, one sentence each, under the same rule as `profileNotes`. */
export function differenceNotes({
  entry,
  kind,
  isRead,
}: Pick<ProfileFindings, 'entry' | 'kind'> & { readonly isRead: boolean }): string[] {
  const isKeyed = (entry.apiKey?.length ?? 0) > 0
  const { settings } = entry
  return [
    kind === 'server' && isKeyed ? KEY_LEFT_OUT : undefined,
    kind === 'cloud' && entry.trimmed !== undefined ? BLANKS_LEFT_OUT : undefined,
    kind === 'cloud' && entry.authString !== undefined ? AUTH_STRING_LEFT_OUT : undefined,
    kind === 'server' && !isRead
      ? 'Prefect 3 does not use its built-in profile unless profiles.toml has a table for it, and starts a server of its own'
      : undefined,
    kind !== 'none' && isRead && /["\\]/.test(entry.name) ? UNREADABLE_NAME : undefined,
    kind === 'cloud' && settings.PREFECT_CLOUD_URL && !settings.PREFECT_CLOUD_API_URL ? OLD_NAME : undefined,
  ].filter((note) => note !== undefined)
}

/** A key of Prefect Cloud is none of the business of another server. */
const KEY_LEFT_OUT =
  'PREFECT_API_KEY of the profile is left out, because its API is not that of Prefect Cloud; Prefect itself sends it'
const BLANKS_LEFT_OUT =
  'PREFECT_API_KEY of the profile is served without the blanks around it, with which Prefect itself cannot send it'
const AUTH_STRING_LEFT_OUT =
  'PREFECT_API_AUTH_STRING of the profile is left out, because its API is that of Prefect Cloud; Prefect 3 sends it in place of the key'

// Up to 3.4 it reads TOML with a library that mistakes both characters.
const UNREADABLE_NAME =
  'Prefect 2 and 3.4 cannot read a profile name with a quotation mark or a backslash, and start a server of their own'
const OLD_NAME =
  'PREFECT_CLOUD_URL of the profile is read as PREFECT_CLOUD_API_URL, its name in Prefect 2; Prefect 3 ignores it'

/** The notes for a job that has a token in place of the key. */
export function notesThroughProxy(notes: readonly string[] = []): readonly string[] {
  return notes.map((note) => (note === AUTHORIZATION ? AUTHORIZATION_LEFT_OUT : note))
}

const AUTHORIZATION =
  'PREFECT_CLIENT_CUSTOM_HEADERS of the profile contains an Authorization, which Prefect 3 sends in place of the key'
const AUTHORIZATION_LEFT_OUT =
  'PREFECT_CLIENT_CUSTOM_HEADERS of the profile contains an Authorization, which the job does not get, because it would take the place of its token'

function hasAuthorization(headers: string | undefined): boolean {
  return customHeaders(headers).some(([name]) => name.toLowerCase() === 'authorization')
}

function urlWarnings({ entry, kind, cloud }: ProfileFindings): (string | undefined)[] {
  const url = entry.settings.PREFECT_API_URL
  if (url === undefined || url === '') return []
  const repair = `run: prefect-auth profile set ${argument(entry.name)} --api-url URL`
  const parsed = parseHttpUrl(url)
  if (parsed === undefined) return [`PREFECT_API_URL is not an http or https URL; ${repair}`]
  if (unproxiedUrl(url) !== undefined) {
    return [
      `PREFECT_API_URL goes through the prefect-auth proxy and is read as the URL behind it; run: prefect-auth workspace set --profile ${argument(entry.name)}`,
    ]
  }
  const ids = workspaceIdsOf(url)
  return [
    isPageUrl(url, cloud)
      ? `PREFECT_API_URL is the address of a browser page, not of the API; ${repair} (which also accepts the page's URL)`
      : undefined,
    url.endsWith('/')
      ? `PREFECT_API_URL ends with a slash, which some calls of Prefect do not expect; ${repair}`
      : undefined,
    ids !== undefined && !(url.includes(ids.accountId) && url.includes(ids.workspaceId))
      ? `PREFECT_API_URL has ids in upper case, so 'prefect cloud workspace ls' does not recognise it; ${repair}`
      : undefined,
    kind === 'cloud' && ids === undefined
      ? `PREFECT_API_URL names no workspace; run: prefect-auth workspace set --profile ${argument(entry.name)}`
      : undefined,
    parsed.password !== ''
      ? 'PREFECT_API_URL contains a password, which is shown wherever the URL is; use PREFECT_API_AUTH_STRING instead'
      : undefined,
  ]
}

function secretWarnings({ entry, apiUrl, kind }: ProfileFindings): (string | undefined)[] {
  const { apiKey, authString, name, unusable = [], trimmed = [] } = entry
  const hasKey = apiKey !== undefined && apiKey.length > 0
  const isOwn = apiKey !== undefined && isOwnToken(apiKey)
  return [
    hasKey || authString !== undefined ? cleartextWarning(apiUrl) : undefined,
    ...trimmed.map(
      (setting) =>
        `${setting} has blanks around it in profiles.toml, with which Prefect sends it, and without which it is served here; run: prefect-auth adopt --profile ${argument(name)}`,
    ),
    ...unusable.map((name) => `${name} contains characters that are not allowed in it, so it is ignored`),
    isOwn
      ? `PREFECT_API_KEY is a prefect-auth token, written by a client that ran through the proxy; run: prefect-auth workspace set --profile ${argument(name)}`
      : undefined,
    hasKey && !isOwn && kind === 'server'
      ? `PREFECT_API_KEY is in plain text in profiles.toml, and its API is not that of Prefect Cloud: prefect-auth does not send it; run: prefect config unset --profile ${argument(name)} PREFECT_API_KEY`
      : undefined,
    hasKey && !isOwn && kind !== 'server'
      ? `PREFECT_API_KEY is in plain text in profiles.toml; run: prefect-auth adopt --profile ${argument(name)}`
      : undefined,
    apiKey?.length === 0
      ? `PREFECT_API_KEY is empty, so Prefect sends no key; run: prefect-auth login --profile ${argument(name)}`
      : undefined,
    hasKey && authString !== undefined
      ? 'PREFECT_API_KEY and PREFECT_API_AUTH_STRING are both set, and Prefect 3 sends only the auth string; remove one of them'
      : undefined,
  ]
}

function cleartextWarning(apiUrl: string | undefined): string | undefined {
  const url = apiUrl === undefined ? undefined : parseHttpUrl(apiUrl)
  if (url === undefined || url.protocol === 'https:' || isLoopback(url.hostname)) return undefined
  return 'PREFECT_API_URL is http and not on this machine, so anyone on the network path can read the key; use https'
}

/** For a profile that a client wrote which ran through the proxy. */
export function aliasWarning(name: string, aliasOf: string, kind: ProfileKind): string {
  const meant = shownName(aliasOf)
  const remedy =
    kind === 'cloud'
      ? `to give it the key itself, run: prefect-auth workspace set --profile ${argument(name)}`
      : `run: prefect-auth profile use ${argument(aliasOf)}`
  return `its URL is the prefect-auth proxy and its key a prefect-auth token, so it stands for profile ${meant}; ${remedy}`
}

function typeWarnings({ notStrings = [] }: ProfileEntry): string[] {
  return OUR_SETTINGS.filter((name) => notStrings.includes(name)).map(
    (name) =>
      `${name} is not a string in profiles.toml, so Prefect 3 does not start; put its value in quotes`,
  )
}

function noteWarnings(entry: ProfileEntry): string[] {
  const hint = `run: prefect config unset --profile ${argument(entry.name)}`
  // An own CA is what the user wants, and no reason for a warning.
  return profileNotes(entry)
    .filter((note) => !note.startsWith('PREFECT_API_SSL_CERT_FILE'))
    .map((note) => `${note}; ${hint} ${note.split(' ')[0]}`)
}

function aliasWarnings({ settings }: ProfileEntry): (string | undefined)[] {
  return [
    settings.PREFECT_CLOUD_URL === undefined
      ? undefined
      : 'PREFECT_CLOUD_URL is an old name that Prefect 3 ignores; rename it to PREFECT_CLOUD_API_URL',
    settings.PREFECT_CLOUD_API_URL === ''
      ? 'PREFECT_CLOUD_API_URL is empty, so Prefect takes every API for Prefect Cloud; remove it'
      : undefined,
  ]
}

function oldClientWarnings({ settings, authString }: ProfileEntry): string[] {
  const unknown = Object.keys(settings).filter(isUnknownToPrefect2)
  if (authString !== undefined) unknown.push('PREFECT_API_AUTH_STRING')
  if (unknown.length === 0) return []
  const names = unknown.slice(0, 5).map((name) => cleanText(name, 60))
  const more = unknown.length > 5 ? ` and ${unknown.length - 5} more` : ''
  return [
    `Prefect 2 does not start with this file because it does not know ${names.join(', ')}${more}; Prefect 3 is not affected`,
  ]
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d+){3}$/.test(hostname)
}

/** A profile name as an argument of a command to copy. */
function argument(name: string): string {
  return quoteWord(cleanText(name))
}
