/** Refusals as Prefect's clients read them, and which of them park a job until it can go on. */
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { BrokerError, type ErrorCode, isBrokerError } from '../base/errors.js'
import { headerLines } from '../http/headers.js'
import { statusOf } from '../http/problem.js'
import type { RequestHead, Response } from '../http/request.js'
import { METHODS } from '../policy/table.js'
import { describeUntrusted } from '../prefect/network-errors.js'
import { shownName } from '../profiles/bundled.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { LINGER_MS } from './wires.js'

interface Refusal {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** `userAgent` is the client's: it decides how long it is asked to wait. */
function refusalOf(error: BrokerError, clock: Clock, userAgent?: string): Refusal {
  const hint = error.hint === undefined ? '' : ` (${error.hint})`
  const body = JSON.stringify({ detail: `${error.message}${hint}`, code: error.code })
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  }
  const isToWait = isParked(error)
  if (isToWait) {
    headers['retry-after'] = String(retryAfterS(userAgent, error.code))
    headers['prefect-maintenance'] = 'true'
  }
  if (error.code === 'method_not_allowed') headers.allow = METHODS.join(', ')
  // Whole seconds: Prefect's clients read a number, and no date.
  if (error.kind === 'too_many')
    headers['retry-after'] = String(Math.max(1, Math.ceil(((error.retryAt ?? 0) - clock.now()) / SECOND_MS)))
  if (error.kind === 'unauthorized') headers['www-authenticate'] = 'Bearer'
  return { status: isToWait ? 503 : statusOf(error), headers, body }
}

/** Destroys the response if it has already begun. */
export function sendRefusal(
  request: RequestHead,
  response: Response,
  error: BrokerError,
  clock: Clock,
): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const { status, headers, body } = refusalOf(error, clock, request.headers['user-agent'])
  // Nobody reads the rest of a refused body.
  const last = request.complete ? [] : ['connection', 'close']
  response.writeHead(status, [...Object.entries(headers).flat(), ...last])
  response.end(body)
}

/** On the bare socket of a WebSocket handshake. */
export function writeRefusal(socket: Duplex, error: BrokerError, clock: Clock): void {
  const { status, headers, body } = refusalOf(error, clock)
  const answer = { status, headers: Object.entries(headers).flat(), body: Buffer.from(body) }
  writeAnswer(socket, answer, clock)
}

/** Sends a whole response on a socket that was not upgraded, and ends it. `headers` are flat, with a length. */
export function writeAnswer(
  socket: Duplex,
  answer: {
    readonly status: number
    readonly headers: readonly string[]
    readonly body: Buffer
  },
  clock: Clock,
): void {
  const { status, headers, body } = answer
  if (!socket.writable) {
    socket.destroy()
    return
  }
  // Never the upstream's own words: anything may be in them.
  socket.write(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${headerLines(headers)}connection: close\r\n\r\n`,
    'latin1',
  )
  // Half-closed is not closed: a peer that never hangs up, or never reads, would keep the connection.
  const late = clock.after(LINGER_MS, () => socket.destroy())
  socket.on('close', () => late.cancel())
  socket.end(body, () => socket.destroy())
}

/** Short, because a job is waiting. */
const RETRY_AFTER_S = 5
/** For versions that count the responses and give up after six: two minutes instead of half a minute. */
const COUNTED_RETRY_AFTER_S = 20

/** A person says yes, and wants to see that it goes on. */
const ASK_RETRY_AFTER_S = 2

/** Seconds until the next attempt. Depends on the client: not every Prefect can wait without counting its attempts. */
export function retryAfterS(userAgent: string | undefined, code?: ErrorCode): number {
  if (countsAttempts(userAgent)) return COUNTED_RETRY_AFTER_S
  return code === 'ask_waiting' ? ASK_RETRY_AFTER_S : RETRY_AFTER_S
}

/** Whether the client is a Prefect before 3.3.1, which gives up after six attempts. */
export function countsAttempts(userAgent: string | undefined): boolean {
  const [, major, minor, patch] = /^prefect\/(\d+)\.(\d+)\.(\d+)/.exec(userAgent ?? '') ?? []
  if (major === undefined) return false
  const version = [major, minor, patch].map(Number)
  const [isOld] = [3, 3, 1].flatMap((wanted, index) => {
    const has = version[index] ?? 0
    return has === wanted ? [] : [has < wanted]
  })
  return isOld === true
}

/** These end on their own or with a login: better to park the job than to kill it. */
const PARKED: ReadonlySet<ErrorCode> = new Set([
  'login_required',
  'key_rejected',
  'key_host_mismatch',
  'vault_locked',
  'vault_unavailable',
  'vault_timeout',
  'vault_corrupt',
  'profile_not_found',
  'profile_not_cloud',
  'profiles_file_invalid',
  'profiles_file_unreadable',
  'disk_failed',
  // A file of certificates, or a company proxy, that cannot be used.
  'setting_invalid',
  'prefect_unreachable',
  'shutting_down',
  'token_parked',
  'ask_waiting',
])

export function isParked({ code }: BrokerError): boolean {
  return PARKED.has(code)
}

/** Prefect answered 401 to the key that we hold: the job waits until the key is accepted again, or replaced. */
export function keyRejected(profile: string): BrokerError {
  return new BrokerError(
    'key_rejected',
    `Prefect refused the key of profile ${shownName(profile)} just now, and is asked again`,
    { hint: 'prefect-auth status' },
  )
}

/** What the client gets for a failed connection. If the request was sent, it decides itself whether to send it again. */
export function upstreamFailed(origin: string, cause: unknown, wasSent: boolean): BrokerError {
  if (isBrokerError(cause)) return cause
  if (wasSent) {
    // Prefect may have processed it.
    return new BrokerError('prefect_failed', `no complete response from ${origin}: ${reasonOf(cause)}`, {
      cause,
    })
  }
  const { says = reasonOf(cause), hint = 'prefect-auth doctor' } = describeUntrusted(cause) ?? {}
  return new BrokerError('prefect_unreachable', `cannot reach ${origin}: ${says}`, { hint, cause })
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return 'unknown'
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.name
}
