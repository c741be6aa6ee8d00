/** Requests of a client, and responses as the schemas of the wire say. */
import type { z } from 'zod'
import { MINUTE_MS } from '../std/clock.js'
import { failWith, parseProblem } from './failure.js'
import { parseTolerantly } from './tolerant.js'
import type { SocketAnswer, SocketRequest, Transport } from './transport.js'

export interface Caller {
  /** The raw response. Rejects with the daemon's problem for a status from 400 on. */
  ask(request: SocketRequest): Promise<SocketAnswer>
  call<T>(schema: z.ZodType<T>, request: SocketRequest): Promise<T>
}

/** The daemon may have to check, mint and verify at Prefect, with retries, behind one call. */
const PREFECT_WITHIN_MS = 2 * MINUTE_MS

export function createCaller(transport: Transport): Caller {
  async function ask(request: SocketRequest): Promise<SocketAnswer> {
    const answer = await transport.send({ timeoutMs: PREFECT_WITHIN_MS, ...request })
    if (answer.status >= 400) failWith(parseProblem(answer.status, answer.text))
    return answer
  }
  return { ask, call: async (schema, request) => understand(schema, await ask(request)) }
}

/** Throws `not_understood` if the response does not match, whatever is left out: the daemon has another version. */
export function understand<T>(schema: z.ZodType<T>, answer: SocketAnswer): T {
  const body = parseJson(answer.text)
  const parsed = schema.safeParse(body)
  if (parsed.success) return parsed.data
  const tolerated = parseTolerantly(schema, body)
  if (tolerated !== undefined) return tolerated.value
  const where = parsed.error.issues[0]?.path.join('.') ?? ''
  return failWith({
    code: 'not_understood',
    kind: 'no_answer',
    detail: `the daemon's answer is not what this version expects${where === '' ? '' : ` (at ${where})`}`,
    hint: 'prefect-auth version      (restart the daemon if the two versions differ)',
  })
}

/** An empty body, as with 204, is an empty object; `undefined` if it is not JSON. */
export function parseJson(text: string): unknown {
  if (text === '') return {}
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** `?a=b` of those that have a value; empty if none has. */
export function query(values: Readonly<Record<string, string | undefined>>): string {
  const pairs = Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`],
  )
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`
}
