/** Parses a request: its target, its key, its body. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { z } from 'zod'
import { detail, json, refusal, type SimRequest } from '../ui/exchange.js'

/** A request before it is matched to a route. */
export type UnroutedRequest = Omit<SimRequest, 'param'>

/** research/prefect.md 2.6: larger bodies get 413. */
const MAX_BODY_BYTES = 5 * 1024 * 1024

/** Wraps a request without reading its body. */
export function readIncoming(incoming: IncomingMessage): UnroutedRequest {
  const [path = '/', query = ''] = (incoming.url ?? '/').split('?', 2)
  return {
    method: incoming.method ?? 'GET',
    path,
    query: new URLSearchParams(query),
    headers: incoming.headers,
    incoming,
    async body<T>(schema: z.ZodType<T>) {
      const parsed = schema.safeParse(await readJson(incoming))
      if (!parsed.success) throw refusal(json(422, { detail: parsed.error.issues }))
      return parsed.data
    },
  }
}

/** The key of `Authorization: Bearer …`; the scheme is case-insensitive, as event clients send `bearer` (4.4). */
export function presentedKey(headers: IncomingHttpHeaders): string | undefined {
  return /^bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1]
}

/** research/prefect.md 2.6: every POST, PUT and PATCH needs `Content-Length`, else 411; above 5 MiB 413. */
export function checkLength({ method, headers }: UnroutedRequest): void {
  if (!['POST', 'PUT', 'PATCH'].includes(method)) return
  const length = headers['content-length']
  if (length === undefined) throw refusal(detail(411, 'Length Required'))
  if (Number(length) > MAX_BODY_BYTES) {
    throw refusal(detail(413, 'Request Entity Too Large', { connection: 'close' }))
  }
}

async function readJson(incoming: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  for await (const chunk of incoming) chunks.push(Buffer.from(chunk))
  const text = Buffer.concat(chunks).toString('utf8')
  try {
    return text === '' ? {} : JSON.parse(text)
  } catch {
    throw refusal(detail(422, 'JSON decode error'))
  }
}
