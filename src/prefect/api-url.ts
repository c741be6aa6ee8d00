/** `PREFECT_API_URL`: the Cloud and workspace that it names, and how one that a person typed is corrected. */
import { BrokerError } from '../base/errors.js'
import type { CloudDefaults } from './cloud.js'

export interface WorkspaceIds {
  readonly accountId: string
  readonly workspaceId: string
}

const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
/** Pages say `account/workspace`, the API says `accounts/workspaces`, the documentation mixes them. */
const WORKSPACE_PATH = new RegExp(`/accounts?/(${UUID})/workspaces?/(${UUID})(?=[/?#]|$)`, 'i')
const PAGE_PATH = /\/(?:account\/|accounts\/[^/]+\/workspace\/)/

/** The ids of the workspace that an API URL or a page URL names, in lower case. */
export function workspaceIdsOf(url: string): WorkspaceIds | undefined {
  const match = WORKSPACE_PATH.exec(url)
  const [accountId, workspaceId] = [match?.[1], match?.[2]]
  if (accountId === undefined || workspaceId === undefined) return undefined
  return { accountId: accountId.toLowerCase(), workspaceId: workspaceId.toLowerCase() }
}

/** `undefined` for what is not an http or https URL, or holds control characters or spaces. */
export function parseHttpUrl(text: string): URL | undefined {
  // URL.parse drops tabs and newlines; a client would pass them on, into a header or an env file.
  if (/[\s\p{Cc}]/u.test(text) || !URL.canParse(text)) return undefined
  const url = new URL(text)
  return url.protocol === 'http:' || url.protocol === 'https:' ? url : undefined
}

/** `user:password` of a URL, decoded; `undefined` if it has neither. A password with a bare `%` in it is taken literally. */
export function userinfoOf({ username, password }: URL): string | undefined {
  if (username === '' && password === '') return undefined
  return [username, password].map(unescaped).join(':')
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/**
 * Prefect's rule, `PREFECT_API_URL.startswith(PREFECT_CLOUD_API_URL)`, plus the same origin: a base without a path is also
 * a prefix of `https://api.prefect.cloud.example.com`, which must never be sent a key.
 */
export function isCloudApiUrl(apiUrl: string, cloudApiUrl: string): boolean {
  if (!apiUrl.startsWith(cloudApiUrl)) return false
  const origin = parseHttpUrl(apiUrl)?.origin
  return origin !== undefined && origin === parseHttpUrl(cloudApiUrl)?.origin
}

/** The UI that belongs to a Cloud API, by the rule of Prefect 3.9 (`settings/models/cloud.py`). */
export function inferCloudUiUrl(cloudApiUrl: string): string {
  const isPrefects = /^https:\/\/api[.\w]*.prefect.[^.]+\//.test(cloudApiUrl)
  const ui = isPrefects ? cloudApiUrl.replace('https://api', 'https://app') : cloudApiUrl
  return ui.endsWith('/api') ? ui.slice(0, -4) : ui
}

/** Whether the URL is a page of the Cloud UI, which no client can use. */
export function isPageUrl(text: string, { cloudApiUrl, cloudUiUrl }: CloudDefaults): boolean {
  const url = parseHttpUrl(text)
  if (url === undefined || isCloudApiUrl(text, cloudApiUrl)) return false
  const ui = parseHttpUrl(cloudUiUrl ?? inferCloudUiUrl(cloudApiUrl))
  return (
    url.origin === ui?.origin ||
    /^app[.\w-]*\.prefect\.\w+$/.test(url.hostname) ||
    PAGE_PATH.test(url.pathname)
  )
}

/**
 * The `PREFECT_API_URL` that a person meant: no trailing slash, ids in lower case, a page URL replaced by its API URL.
 * Throws `api_url_invalid`.
 */
export function normaliseApiUrl(text: string, defaults: CloudDefaults): string {
  const trimmed = text.trim()
  const url = parseHttpUrl(trimmed)
  if (url === undefined) throw invalid('it is not an http or https URL')
  if (url.username !== '' || url.password !== '') throw invalid('it contains a user name or a password')
  const ids = workspaceIdsOf(trimmed)
  if (isPageUrl(trimmed, defaults)) {
    if (ids === undefined) throw invalid('it is a page of the Cloud UI without a workspace')
    return `${apiOfPage(url, defaults)}/accounts/${ids.accountId}/workspaces/${ids.workspaceId}`
  }
  if (url.search !== '' || url.hash !== '') throw invalid('it has a query or a fragment')
  const plain = `${url.origin}${url.pathname}`.replace(/\/+$/, '')
  return plain.replace(WORKSPACE_PATH, (found) => found.toLowerCase())
}

/** `app.private.prefect.cloud` has its API at `api.private.prefect.cloud/api`; any other UI belongs to the configured Cloud API. */
function apiOfPage(page: URL, { cloudApiUrl, cloudUiUrl }: CloudDefaults): string {
  const ui = parseHttpUrl(cloudUiUrl ?? inferCloudUiUrl(cloudApiUrl))
  if (page.origin === ui?.origin) return cloudApiUrl
  if (/^app[.\w-]*\.prefect\.\w+$/.test(page.hostname)) return `https://api${page.hostname.slice(3)}/api`
  throw invalid('it looks like a page of a UI whose API is not known')
}

function invalid(reason: string): BrokerError {
  return new BrokerError('api_url_invalid', `cannot use this as an API URL: ${reason}`, {
    hint: 'give http://HOST:PORT/api, or https://api.prefect.cloud/api/accounts/ACCOUNT-ID/workspaces/WORKSPACE-ID',
  })
}
