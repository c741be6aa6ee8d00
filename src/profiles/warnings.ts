/** What a person should know about a profile: each a sentence that names the thing and the remedy, never a secret. */

import { isPageUrl, parseHttpUrl, workspaceIdsOf } from '../prefect/api-url.js'
import type { CloudDefaults } from '../prefect/cloud.js'
import { isOwnToken, unproxiedUrl } from '../prefect/proxied.js'
import { cleanText, quoteWord } from '../std/text.js'
import { isUnknownToPrefect2, OUR_SETTINGS } from './bundled.js'
import type { ProfileEntry, ProfileKind } from './profile.js'

interface ProfileFindings {
  readonly entry: ProfileEntry
  readonly kind: ProfileKind
  readonly apiUrl?: string
  readonly cloud: CloudDefaults
}

/** All warnings for one table of the file, in the order of urgency. */
export function profileWarnings(findings: ProfileFindings): string[] {
  const warnings = [
    ...urlWarnings(findings),
    ...secretWarnings(findings),
    ...typeWarnings(findings.entry),
    ...aliasWarnings(findings.entry),
    ...oldClientWarnings(findings.entry),
  ]
  return warnings.filter((warning) => warning !== undefined)
}

function urlWarnings({ entry, kind, cloud }: ProfileFindings): (string | undefined)[] {
  const url = entry.settings.PREFECT_API_URL
  if (url === undefined || url === '') return []
  const repair = `run: prefect-auth profile set ${argument(entry.name)} --api-url URL`
  const parsed = parseHttpUrl(url)
  if (parsed === undefined) return [`PREFECT_API_URL is no http or https URL; ${repair}`]
  if (unproxiedUrl(url) !== undefined) {
    return [
      `PREFECT_API_URL leads through our own proxy and is read as what stands behind it; run: prefect-auth workspace set --profile ${argument(entry.name)}`,
    ]
  }
  const ids = workspaceIdsOf(url)
  return [
    isPageUrl(url, cloud)
      ? `PREFECT_API_URL is the address of a browser page, not of the API; ${repair} (it takes the page's URL too)`
      : undefined,
    url.endsWith('/')
      ? `PREFECT_API_URL ends with a slash, which some calls of Prefect do not expect; ${repair}`
      : undefined,
    ids !== undefined && !(url.includes(ids.accountId) && url.includes(ids.workspaceId))
      ? `PREFECT_API_URL has ids in upper case, so that 'prefect cloud workspace ls' does not recognise it; ${repair}`
      : undefined,
    kind === 'cloud' && ids === undefined
      ? `PREFECT_API_URL names no workspace; run: prefect-auth workspace set --profile ${argument(entry.name)}`
      : undefined,
    parsed.password !== ''
      ? 'PREFECT_API_URL holds a password, which is shown wherever the URL is; use PREFECT_API_AUTH_STRING instead'
      : undefined,
  ]
}

function secretWarnings({ entry, apiUrl }: ProfileFindings): (string | undefined)[] {
  const { apiKey, authString, name, unusable = [] } = entry
  const hasKey = apiKey !== undefined && apiKey.length > 0
  const isOwn = apiKey !== undefined && isOwnToken(apiKey)
  return [
    hasKey || authString !== undefined ? cleartextWarning(apiUrl) : undefined,
    ...unusable.map((name) => `${name} holds characters that none can have; it is ignored`),
    isOwn
      ? `PREFECT_API_KEY is a token of our own, which a client that ran through the proxy wrote; run: prefect-auth workspace set --profile ${argument(name)}`
      : undefined,
    hasKey && !isOwn
      ? `PREFECT_API_KEY stands in plain text in profiles.toml; run: prefect-auth adopt --profile ${argument(name)}`
      : undefined,
    apiKey?.length === 0
      ? `PREFECT_API_KEY is set to nothing, so that Prefect sends no key; run: prefect-auth login --profile ${argument(name)}`
      : undefined,
    hasKey && authString !== undefined
      ? 'both PREFECT_API_KEY and PREFECT_API_AUTH_STRING are set: Prefect 3 sends the auth string and not the key; remove one of them'
      : undefined,
  ]
}

function cleartextWarning(apiUrl: string | undefined): string | undefined {
  const url = apiUrl === undefined ? undefined : parseHttpUrl(apiUrl)
  if (url === undefined || url.protocol === 'https:' || isLoopback(url.hostname)) return undefined
  return 'PREFECT_API_URL is http and not on this machine: everyone on the way can read the key; use https'
}

function typeWarnings({ notStrings = [] }: ProfileEntry): string[] {
  return OUR_SETTINGS.filter((name) => notStrings.includes(name)).map(
    (name) =>
      `${name} is no string in profiles.toml, so that Prefect 3 does not start; put its value in quotes`,
  )
}

function aliasWarnings({ settings }: ProfileEntry): (string | undefined)[] {
  return [
    settings.PREFECT_CLOUD_URL === undefined
      ? undefined
      : 'PREFECT_CLOUD_URL is an old name that Prefect 3 ignores; rename it to PREFECT_CLOUD_API_URL',
    settings.PREFECT_CLOUD_API_URL === ''
      ? 'PREFECT_CLOUD_API_URL is set to nothing, so that Prefect takes every API for its cloud; remove it'
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
    `Prefect 2 does not start with this file: it does not know ${names.join(', ')}${more}; harmless with Prefect 3 alone`,
  ]
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d+){3}$/.test(hostname)
}

/** A profile name as an argument of a command that a person copies. */
function argument(name: string): string {
  return quoteWord(cleanText(name))
}
