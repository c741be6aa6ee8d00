/** A self-hosted Prefect server: whether it answers at a profile's URL, and whether it takes the profile's auth string. */

import type { BrokerError } from '../base/errors.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'
import { plainText } from '../std/text.js'
import type { DispatcherFor } from './agent.js'
import { parseHttpUrl, userinfoOf } from './api-url.js'
import { type ConnectionSettings, headersBeside } from './connection.js'
import { type CloudAnswer, type Exchanged, exchange } from './exchange.js'
import { describeNetworkError } from './network-errors.js'
import { describeBody, parseJson } from './refusals.js'

/** What was found at a server's URL. */
export type ServerAnswer =
  /** `version`: Prefect's own, if it says which. */
  | { readonly kind: 'good'; readonly version?: string }
  | { readonly kind: 'silent'; readonly error: BrokerError }
  /** 401: the auth string is wrong, or there is none. */
  | { readonly kind: 'refused' }
  /** Nothing of Prefect's is at this URL, but there is at another one. */
  | { readonly kind: 'elsewhere'; readonly apiUrl: string }
  /** Something that is not Prefect's API. `found`: "200 and a web page (…)", never a text of its own. */
  | { readonly kind: 'foreign'; readonly found: string }
  /** It cannot work at the moment. */
  | { readonly kind: 'failing'; readonly status: number }

interface ServerCaller {
  /** The dispatcher for an origin. Rejects with `setting_invalid`. */
  readonly dispatcherFor: DispatcherFor
  readonly clock: Clock
  /** The profile's own certificates and headers. */
  readonly connection?: ConnectionSettings
}

/** A person waits for the answer. */
const TOTAL_MS = 5 * SECOND_MS
const LIMITS = { headersTimeoutMs: TOTAL_MS, bodyTimeoutMs: TOTAL_MS, maxBodyBytes: 64 * 1024 }

/** Asks the server at `apiUrl`, which gets the auth string, and nobody else. Never rejects. */
export async function askServer(
  caller: ServerCaller,
  { apiUrl, authString }: { readonly apiUrl: string; readonly authString?: Secret },
): Promise<ServerAnswer> {
  const url = parseHttpUrl(apiUrl)
  if (url === undefined) return { kind: 'foreign', found: 'no http or https URL' }
  const base = `${url.origin}${url.pathname.replace(/\/+$/, '')}`
  const own = defined({ accept: 'application/json', authorization: authorizationOf(url, authString) })
  const headers = { ...own, ...headersBeside(own, caller.connection) }
  const health = await get(caller, `${base}/health`, headers)
  if (health.kind === 'silent') return health
  const { answer } = health
  if (answer.status === 401) return { kind: 'refused' }
  if (answer.status >= 500) return { kind: 'failing', status: answer.status }
  if (!isHealth(answer)) return lookElsewhere(caller, { url, base }, answer)
  const version = await get(caller, `${base}/admin/version`, headers)
  if (version.kind === 'silent') return version
  if (version.answer.status === 401) return { kind: 'refused' }
  const text = version.answer.status === 200 ? parseJson(version.answer.text) : undefined
  return { kind: 'good', ...defined({ version: typeof text === 'string' ? plainText(text, 40) : undefined }) }
}

function authorizationOf(url: URL, authString: Secret | undefined): string | undefined {
  const text = authString?.reveal() ?? userinfoOf(url) // to the server of this very profile
  return text === undefined ? undefined : `Basic ${Buffer.from(text).toString('base64')}`
}

/** Where people forget `/api`, paste a page's address, or a proxy redirects to https. */
async function lookElsewhere(
  caller: ServerCaller,
  { url, base }: { readonly url: URL; readonly base: string },
  answer: CloudAnswer,
): Promise<ServerAnswer> {
  const redirect = redirectOf(answer, base)
  const places = [...(redirect === undefined ? [] : [redirect]), `${base}/api`, `${url.origin}/api`]
  for (const place of new Set(places)) {
    if (place === base) continue
    const isSame = place.startsWith(`${url.origin}/`)
    const health = await get(caller, `${place}/health`, isSame ? headersBeside({}, caller.connection) : {})
    if (health.kind === 'heard' && isHealth(health.answer)) return { kind: 'elsewhere', apiUrl: place }
  }
  return { kind: 'foreign', found: describeBody(answer) }
}

/** The base that a redirect of `/health` leads to. */
function redirectOf({ status, headers }: CloudAnswer, base: string): string | undefined {
  const location = headers.get('location') ?? ''
  if (status < 300 || status >= 400 || !URL.canParse(location, base)) return undefined
  const to = new URL(location, base)
  const isHealthThere = /^https?:$/.test(to.protocol) && to.pathname.endsWith('/health')
  return isHealthThere ? `${to.origin}${to.pathname.slice(0, -'/health'.length)}` : undefined
}

/** Prefect 2 and 3 answer `true`, and nobody else does. */
function isHealth({ status, text }: CloudAnswer): boolean {
  return status === 200 && parseJson(text) === true
}

type Heard =
  | { readonly kind: 'heard'; readonly answer: CloudAnswer }
  | Extract<ServerAnswer, { kind: 'silent' }>

async function get(
  { dispatcherFor, clock, connection }: ServerCaller,
  at: string,
  headers: Readonly<Record<string, string>>,
): Promise<Heard> {
  const url = new URL(at)
  const abort = new AbortController()
  const timer = clock.after(TOTAL_MS, () =>
    abort.abort(Object.assign(new Error('no answer in time'), { code: 'UND_ERR_HEADERS_TIMEOUT' })),
  )
  const request = { method: 'GET', url, headers: { accept: 'application/json', ...headers } } as const
  const ask = async () =>
    exchange(await dispatcherFor(url.origin, connection?.tls), request, LIMITS, abort.signal)
  const got: Exchanged = await ask()
    .catch((error: unknown) => ({ kind: 'failed', phase: 'before', error }) as const)
    .finally(() => timer.cancel())
  if (got.kind === 'answer') return { kind: 'heard', answer: got.answer }
  const error = got.kind === 'too_large' ? new Error('the answer is too large') : got.error
  const phase = got.kind === 'failed' ? got.phase : 'body'
  const asked = { host: url.host, purpose: 'reach the server', phase }
  return { kind: 'silent', error: describeNetworkError(error, asked).error }
}
