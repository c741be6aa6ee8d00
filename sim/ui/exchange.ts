/** One request and one answer, as the simulator's handlers see them. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import type { z } from 'zod'
import type { Actor } from '../api/rows.js'
import type { IssuedKey } from '../keys.js'

export interface SimRequest {
  readonly method: string
  /** Without the query. */
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  /** The request itself, for those who forward its body. */
  readonly incoming: IncomingMessage
  /** Text that the route's `:name` parts matched. */
  param(name: string): string
  /** The JSON body, checked. Throws `Refusal` 422. */
  body<T>(schema: z.ZodType<T>): Promise<T>
}

/** A request whose key was accepted. */
export interface AuthedRequest extends SimRequest {
  readonly actor: Actor
  readonly key: IssuedKey
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[]>>
  readonly body: Buffer | Readable
}

export function json(status: number, value: unknown, headers: Record<string, string> = {}): Answer {
  return {
    status,
    headers: { 'content-type': 'application/json', ...headers },
    body: Buffer.from(JSON.stringify(value)),
  }
}

/** Prefect Cloud's error shape: `{"detail": …}` (research/prefect.md 1.9). */
export function detail(status: number, text: string, headers: Record<string, string> = {}): Answer {
  return json(status, { detail: text }, headers)
}

export function noContent(): Answer {
  return { status: 204, headers: {}, body: Buffer.alloc(0) }
}

export function html(status: number, page: string, headers: Record<string, string> = {}): Answer {
  return {
    status,
    headers: { 'content-type': 'text/html; charset=utf-8', ...headers },
    body: Buffer.from(page),
  }
}

const REFUSED = Symbol('refused')

/** Thrown to end a handler with an answer. */
interface Refusal extends Error {
  readonly [REFUSED]: Answer
}

/** Makes what a handler throws to answer so. */
export function refusal(answer: Answer): Refusal {
  return Object.assign(new Error(`refused with ${answer.status}`), { [REFUSED]: answer })
}

/** The answer inside what was thrown; anything else is a bug and becomes a 500 that says so. */
export function answerOfThrown(thrown: unknown): Answer {
  if (thrown instanceof Error && REFUSED in thrown) {
    const { [REFUSED]: answer }: { [REFUSED]?: unknown } = thrown
    if (isAnswer(answer)) return answer
  }
  return detail(500, `the simulator failed: ${String(thrown)}`)
}

function isAnswer(value: unknown): value is Answer {
  return typeof value === 'object' && value !== null && 'status' in value && 'body' in value
}
