/** One call: a request, the daemon's problem as a failure, the answer checked against its wire schema. */
import type { z } from 'zod'
import { failWith, parseProblem } from './failure.js'
import type { SocketAnswer, SocketRequest, Transport } from './transport.js'

export interface Caller {
  /** The answer as it came; a status from 400 on is a failure. */
  ask(request: SocketRequest): Promise<SocketAnswer>
  call<T>(schema: z.ZodType<T>, request: SocketRequest): Promise<T>
}

/** The daemon may have to check, mint and verify at Prefect, with retries, behind one call. */
const PREFECT_WITHIN_MS = 120_000

export function createCaller(transport: Transport): Caller {
  async function ask(request: SocketRequest): Promise<SocketAnswer> {
    const answer = await transport.send({ timeoutMs: PREFECT_WITHIN_MS, ...request })
    if (answer.status >= 400) failWith(parseProblem(answer.status, answer.text))
    return answer
  }
  return { ask, call: async (schema, request) => understand(schema, await ask(request)) }
}

/** Fails with `not_understood`: the daemon is of another version. */
export function understand<T>(schema: z.ZodType<T>, answer: SocketAnswer): T {
  const parsed = schema.safeParse(parseJson(answer.text))
  if (parsed.success) return parsed.data
  const where = parsed.error.issues[0]?.path.join('.') ?? ''
  return failWith({
    code: 'not_understood',
    kind: 'no_answer',
    detail: `the daemon's answer is not what this version expects${where === '' ? '' : ` (at ${where})`}`,
    hint: 'prefect-auth version      (restart the daemon where the two versions differ)',
  })
}

/** An empty body, as of 204, reads as an empty object. */
function parseJson(text: string): unknown {
  if (text === '') return {}
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** `?a=b` of those that have a value; nothing where none has. */
export function query(values: Readonly<Record<string, string | undefined>>): string {
  const pairs = Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`],
  )
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`
}
