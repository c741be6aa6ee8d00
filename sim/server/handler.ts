/** Handles one HTTP request: log, fault before, route, fault after, send. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream'
import { API_PREFIX, type Api } from '../api/api.js'
import { strikeAfter, strikeBefore } from '../faults/effects.js'
import type { FaultSource } from '../faults/faults.js'
import { fingerprint } from '../fingerprint.js'
import { type Answer, answerOfThrown, detail } from '../ui/exchange.js'
import type { Ui } from '../ui/ui.js'
import { presentedKey, readIncoming, type UnroutedRequest } from './incoming.js'
import type { LoggedRequest, RequestLog } from './request-log.js'

interface HandlerParts {
  readonly now: () => number
  /** Whether `Date` headers carry simulated time instead of the machine's. */
  readonly simulatedDate: boolean
  readonly faults: FaultSource
  readonly log: RequestLog
  /** What this server serves; absent if another server does. */
  readonly api?: Api
  readonly ui?: Ui
}

export type Handler = (incoming: IncomingMessage, response: ServerResponse) => void

export function createHandler(parts: HandlerParts): Handler {
  return (incoming, response) => {
    response.on('error', () => response.destroy())
    void handle(incoming, response, parts)
  }
}

async function handle(incoming: IncomingMessage, response: ServerResponse, parts: HandlerParts) {
  const request = readIncoming(incoming)
  const { method, path, headers } = request
  const keyText = presentedKey(headers)
  const key = keyText === undefined ? undefined : fingerprint(keyText)
  const entry = parts.log.add({ at: parts.now(), method, path, key, userAgent: headers['user-agent'] })

  const fault = parts.faults.take({ method, path, key })
  if (fault === undefined) return send(await answer(request, parts), response, entry, parts)

  const before = await strikeBefore(fault, () => incoming.socket.resetAndDestroy())
  if (before.kind === 'gone') return
  if (before.kind === 'answer') return send(before.answer, response, entry, parts)
  const after = strikeAfter(fault, await answer(request, parts), response)
  if (after !== undefined) send(after, response, entry, parts)
}

async function answer(request: UnroutedRequest, { api, ui }: HandlerParts): Promise<Answer> {
  try {
    if (api !== undefined && request.path.startsWith(`${API_PREFIX}/`)) return await api(request)
    return ui === undefined ? detail(404, 'Not Found') : await ui.answer(request)
  } catch (thrown) {
    return answerOfThrown(thrown)
  }
}

function send(
  { status, headers, body }: Answer,
  response: ServerResponse,
  entry: LoggedRequest,
  { now, simulatedDate }: HandlerParts,
): void {
  entry.status = status
  if (simulatedDate) response.setHeader('date', new Date(now()).toUTCString())
  if (!Buffer.isBuffer(body)) {
    response.writeHead(status, headers)
    pipeline(body, response, () => {})
    return
  }
  const length = status === 204 ? {} : { 'content-length': String(body.length) }
  response.writeHead(status, { ...headers, ...length })
  response.end(body)
}
