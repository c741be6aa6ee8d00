/** Refusals in the shape that Prefect's clients read, on a response and on the bare socket of an upgrade. */
import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { BrokerError, type ErrorCode } from '../base/errors.js'
import { headerLines } from '../http/headers.js'
import { statusOf } from '../http/problem.js'

interface Refusal {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** `userAgent`: of the client, which decides how it is told to wait. */
function refusalOf(error: BrokerError, userAgent?: string): Refusal {
  const isToWait = isParked(error)
  const hint = error.hint === undefined ? '' : ` (${error.hint})`
  const body = JSON.stringify({ detail: `${error.message}${hint}`, code: error.code })
  return {
    status: isToWait ? 503 : statusOf(error),
    headers: {
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(body)),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...(isToWait ? { 'retry-after': String(retryAfterS(userAgent)), 'prefect-maintenance': 'true' } : {}),
      ...(error.kind === 'unauthorized' ? { 'www-authenticate': 'Bearer' } : {}),
    },
    body,
  }
}

/** Breaks an answer off that has already begun. */
export function sendRefusal(response: ServerResponse, error: BrokerError): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const { status, headers, body } = refusalOf(error, response.req.headers['user-agent'])
  // Nobody reads the rest of a refused body.
  const isUnread = !response.req.complete
  response.writeHead(status, { ...headers, ...(isUnread ? { connection: 'close' } : {}) }).end(body)
}

export function writeRefusal(socket: Duplex, error: BrokerError): void {
  const { status, headers, body } = refusalOf(error)
  writeAnswer(socket, { status, headers: Object.entries(headers).flat(), body: Buffer.from(body) })
}

/** A whole answer on a socket that was to be upgraded, and the end of it. `headers`: flat, with a length. */
export function writeAnswer(
  socket: Duplex,
  answer: {
    readonly status: number
    readonly reason?: string
    readonly headers: readonly string[]
    readonly body: Buffer
  },
): void {
  const { status, reason = STATUS_CODES[status] ?? '', headers, body } = answer
  if (!socket.writable) {
    socket.destroy()
    return
  }
  socket.write(`HTTP/1.1 ${status} ${reason}\r\n${headerLines(headers)}connection: close\r\n\r\n`, 'latin1')
  // Half-closed is not closed: a peer that never hangs up would keep its place.
  socket.end(body, () => socket.destroy())
}

/** Seconds; short, because whoever waits for it is a job that stands still. */
const RETRY_AFTER_S = 5
/** For whoever counts the answers, and gives up after six: two minutes instead of half of one. */
const COUNTED_RETRY_AFTER_S = 20

/** When to ask again, in seconds: by what the client says it is, as not every Prefect knows how to wait without counting. */
export function retryAfterS(userAgent: string | undefined): number {
  const [, major, minor, patch] = /^prefect\/(\d+)\.(\d+)\.(\d+)/.exec(userAgent ?? '') ?? []
  if (major === undefined) return RETRY_AFTER_S
  const version = [major, minor, patch].map(Number)
  const [isOld] = [3, 3, 1].flatMap((wanted, index) => {
    const has = version[index] ?? 0
    return has === wanted ? [] : [has < wanted]
  })
  return isOld === true ? COUNTED_RETRY_AFTER_S : RETRY_AFTER_S
}

/** What passes by itself or by a login, so that a job is better parked than killed. */
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
  'prefect_unreachable',
  'shutting_down',
])

export function isParked({ code }: BrokerError): boolean {
  return PARKED.has(code)
}

/** Prefect answered 401 to the key that we hold. */
export function keyRejected(profile: string): BrokerError {
  return new BrokerError('key_rejected', `Prefect does not accept the key of profile '${profile}'`, {
    hint: `prefect-auth login --profile ${profile}`,
  })
}

/** The request never reached Prefect, so that sending it again does nothing twice. */
export function unreachable(origin: string, cause: unknown): BrokerError {
  return new BrokerError('prefect_unreachable', `${origin} can't be reached (${reasonOf(cause)})`, {
    hint: 'prefect-auth doctor',
    cause,
  })
}

/** The request may have been processed: the client decides whether it asks again. */
export function brokenOff(origin: string, cause: unknown): BrokerError {
  return new BrokerError('prefect_failed', `${origin} did not answer in full (${reasonOf(cause)})`, { cause })
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return 'unknown'
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.name
}
