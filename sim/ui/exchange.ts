/** A request and a response, as the simulator's handlers see them. */
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
  /** The raw request, for handlers that forward its body. */
  readonly incoming: IncomingMessage
  /** The path segment that the route's `:name` matched. */
  param(name: string): string
  /** Parses the JSON body. Throws `Refusal` 422. */
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

/** Thrown to end a handler with this response. */
interface Refusal extends Error {
  readonly [REFUSED]: Answer
}

/** Creates what a handler throws to send this response. */
export function refusal(answer: Answer): Refusal {
  return Object.assign(new Error(`refused with ${answer.status}`), { [REFUSED]: answer })
}

/** Returns the response of a thrown refusal; anything else is a bug and becomes a 500 that says so. */
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
