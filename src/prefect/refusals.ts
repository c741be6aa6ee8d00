/** Prefect Cloud's refusals and unreadable answers, as errors. */

import { BrokerError, type BrokerErrorDetails, type ErrorCode } from '../base/errors.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'
import { plainText, scrub } from '../std/text.js'
import type { CloudAnswer } from './exchange.js'

/** What was requested, for the message and the verdict. */
export interface AskedOf {
  readonly host: string
  /** "list the workspaces" */
  readonly purpose: string
  readonly key: Secret
}

const LOGIN = 'prefect-auth login'
const PORTAL =
  'check for a login page of your network, a proxy, or a wrong PREFECT_CLOUD_API_URL: prefect-auth doctor'
const FORBIDDEN =
  "the key is valid but not allowed to do this: check the account's IP allow list, the role of the key's owner, and the network (VPN, PrivateLink)"
const CLOUD_1 = `keys that begin with pcu_ are from Prefect Cloud 1 and no longer work: ${LOGIN}`

/** The error for an answer with an unwanted status. `retryAt` in epoch ms, if the answer named a time. */
export function describeRefusal(
  answer: CloudAnswer,
  asked: AskedOf,
  retryAt: number | undefined,
): BrokerError {
  const { status } = answer
  if (status >= 300 && status < 400) return describeRedirect(answer, asked)
  // Someone else's refusal must not make a key look dead, nor a key at Prefect look gone: only Prefect's own may.
  if (status < 500 && status !== 429 && !isOwnRefusal(answer)) return unexpected(asked, describeBody(answer))
  const { code, hint } = classify(status, asked.key)
  const detail = readDetail(answer, asked.key)
  const message = `cannot ${asked.purpose}: ${asked.host} answered ${status}${detail === '' ? '' : `: ${detail}`}`
  return new BrokerError(code, message, defined({ hint, retryAt }))
}

function classify(status: number, key: Secret): { readonly code: ErrorCode; readonly hint?: string } {
  if (status === 401) return { code: 'key_rejected', hint: key.startsWith('pcu_') ? CLOUD_1 : LOGIN }
  if (status === 403) return { code: 'prefect_forbidden', hint: FORBIDDEN }
  if (status === 404)
    return {
      code: 'prefect_not_found',
      hint: "check PREFECT_CLOUD_API_URL, and that the key's owner is a member of the account",
    }
  if (status === 429) return { code: 'prefect_rate_limited', hint: 'wait a minute, then try again' }
  if (status >= 500)
    return { code: 'prefect_failed', hint: 'try again later, and check https://prefect.status.io' }
  return status >= 400 ? { code: 'prefect_refused' } : { code: 'prefect_unexpected', hint: PORTAL }
}

/** An unreadable answer. `found` describes it and never quotes it. */
export function unexpected(
  { host, purpose }: Pick<AskedOf, 'host' | 'purpose'>,
  found: string,
  details: BrokerErrorDetails = {},
): BrokerError {
  const message = `cannot ${purpose}: ${host} answered with ${found}`
  return new BrokerError('prefect_unexpected', message, { hint: PORTAL, ...details })
}

/** Whether it is a web page, not an answer of an API. */
function isPage({ headers, text }: CloudAnswer): boolean {
  return (
    /^(text\/html|application\/xhtml)/i.test(headers.get('content-type') ?? '') ||
    /^\s*<(!doctype|html)/i.test(text)
  )
}

/** Whether it is JSON by its content type and its text. */
export function isJson(answer: CloudAnswer): boolean {
  const type = answer.headers.get('content-type') ?? ''
  return /^application\/([a-z0-9.+-]+\+)?json\s*(;|$)/i.test(type) && parseJson(answer.text) !== undefined
}

/**
 * Whether it is a refusal of Prefect's own, by its form: JSON with `detail`, or with `exception_message` but for a 401, which
 * only a self-hosted server sends like that.
 */
export function isOwnRefusal(answer: CloudAnswer): boolean {
  if (answer.status < 400 || !isJson(answer)) return false
  const body = parseJson(answer.text)
  if (field(body, 'detail') !== undefined) return true
  return answer.status !== 401 && typeof field(body, 'exception_message') === 'string'
}

/** "200 and a web page (text/html, 512 characters)" */
export function describeBody(answer: CloudAnswer): string {
  const type = plainText(answer.headers.get('content-type') ?? 'no content type', 60)
  if (answer.text.trim() === '') return `${answer.status} and an empty body`
  const isText = parseJson(answer.text) === undefined
  const what = isPage(answer)
    ? 'a web page'
    : isText
      ? 'something that is not JSON'
      : "JSON that is not Prefect's"
  return `${answer.status} and ${what} (${type}, ${answer.text.length} characters)`
}

/** Redirects are not followed: the key must not go to where an answer points. */
function describeRedirect({ status, headers }: CloudAnswer, asked: AskedOf): BrokerError {
  const location = headers.get('location') ?? ''
  const base = `https://${asked.host}`
  const target = URL.canParse(location, base) ? plainText(new URL(location, base).host, 100) : 'nowhere'
  return unexpected(asked, `${status}, a redirect to ${target}, which was not followed`)
}

/** Prefect's own words: `detail` as text or as FastAPI's list, or `exception_message`. No secrets, at most 200 characters. */
function readDetail({ text }: CloudAnswer, key: Secret): string {
  const body = parseJson(text)
  const words = readWords(field(body, 'detail')) || readWords(field(body, 'exception_message'))
  return plainText(scrub(words.split(key.reveal()).join('[secret]')), 200) // to remove it from Prefect's own words
}

function readWords(detail: unknown): string {
  if (typeof detail === 'string') return detail
  if (Array.isArray(detail)) return detail.slice(0, 5).map(readIssue).filter(Boolean).join('; ')
  const message = field(detail, 'message')
  return typeof message === 'string' ? message : ''
}

/** Of `{loc: ["body", "expiration"], msg: "field required", input: …}`, without the input. */
function readIssue(issue: unknown): string {
  const [loc, message] = [field(issue, 'loc'), field(issue, 'msg')]
  if (typeof message !== 'string') return ''
  return Array.isArray(loc) ? `${loc.join('.')}: ${message}` : message
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

/** `undefined` if it is not JSON (JSON itself has no undefined). */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
