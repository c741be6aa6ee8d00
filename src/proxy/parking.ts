/** Refusals in the shape that Prefect's clients read, on a response and on the bare socket of an upgrade. */
import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { BrokerError } from '../base/errors.js'
import { statusOf } from '../http/problem.js'
import { isParked, retryAfterS } from './proxy-parking.js'

interface Refusal {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** `userAgent`: of the client, which decides how it is told to wait. */
export function refusalOf(error: BrokerError, userAgent?: string): Refusal {
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

export function headerLines(flat: readonly string[]): string {
  let lines = ''
  for (let index = 0; index + 1 < flat.length; index += 2) lines += `${flat[index]}: ${flat[index + 1]}\r\n`
  return lines
}
