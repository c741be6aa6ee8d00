/** One HTTP request to Prefect Cloud and its whole answer, within limits. No retries, redirects or verdict. */

import type { Dispatcher } from 'undici'
import { defined } from '../std/defined.js'

export interface CloudRequest {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}

/** `headers` by lower-case name. */
export interface CloudAnswer {
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly text: string
}

export type Exchanged =
  | { readonly kind: 'answer'; readonly answer: CloudAnswer }
  /** `phase`: `body` if the head of an answer had arrived. */
  | { readonly kind: 'failed'; readonly phase: 'before' | 'body'; readonly error: unknown }
  | { readonly kind: 'too_large'; readonly limit: number }

interface ExchangeLimits {
  readonly headersTimeoutMs: number
  /** Between two pieces of the body. */
  readonly bodyTimeoutMs: number
  readonly maxBodyBytes: number
}

/** Sends, and reads to the end. Never rejects; an abort is a failure with the signal's reason. */
export async function exchange(
  dispatcher: Dispatcher,
  request: CloudRequest,
  limits: ExchangeLimits,
  signal: AbortSignal,
): Promise<Exchanged> {
  let response: Dispatcher.ResponseData
  try {
    response = await send(dispatcher, request, limits, signal)
  } catch (error) {
    return { kind: 'failed', phase: 'before', error }
  }
  try {
    const text = await readBody(response.body, limits.maxBodyBytes)
    if (text === undefined) return { kind: 'too_large', limit: limits.maxBodyBytes }
    return {
      kind: 'answer',
      answer: { status: response.statusCode, headers: flatten(response.headers), text },
    }
  } catch (error) {
    return { kind: 'failed', phase: 'body', error: signal.aborted ? signal.reason : error }
  }
}

/** undici checks the signal only once it has a connection, which a proxy that never answers CONNECT prevents. */
function send(
  dispatcher: Dispatcher,
  { method, url, headers, body }: CloudRequest,
  { headersTimeoutMs, bodyTimeoutMs }: ExchangeLimits,
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    dispatcher
      .request({
        method,
        origin: url.origin,
        path: url.pathname,
        headers,
        headersTimeout: headersTimeoutMs,
        bodyTimeout: bodyTimeoutMs,
        signal,
        ...defined({ body }),
      })
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', onAbort))
  })
}

/** `undefined` if it is larger than `limit`. */
async function readBody(body: Dispatcher.ResponseData['body'], limit: number): Promise<string | undefined> {
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of body) {
    const bytes = Buffer.from(piece)
    size += bytes.length
    if (size > limit) return undefined
    pieces.push(bytes)
  }
  return new TextDecoder().decode(Buffer.concat(pieces))
}

function flatten(headers: Dispatcher.ResponseData['headers']): ReadonlyMap<string, string> {
  const flat = new Map<string, string>()
  for (const [name, value] of Object.entries(headers)) {
    const first = Array.isArray(value) ? value[0] : value
    if (first !== undefined) flat.set(name.toLowerCase(), first)
  }
  return flat
}
