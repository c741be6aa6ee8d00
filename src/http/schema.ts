/** zod schemas for fastify: requests are checked and typed, and a refusal names the field. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifySchemaCompiler,
  FastifyTypeProvider,
  RawServerDefault,
} from 'fastify'
import { z } from 'zod'
import { BrokerError } from '../base/errors.js'

interface ZodTypes extends FastifyTypeProvider {
  readonly validator: this['schema'] extends z.ZodType ? z.output<this['schema']> : unknown
  readonly serializer: this['schema'] extends z.ZodType ? z.input<this['schema']> : unknown
}

/** The fastify instance that routes are registered on; bodies, queries and answers are typed by their zod schemas. */
export type ApiServer = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypes
>

/** Checks a part of the request. An absent body counts as an empty object, so that an optional body may be left out. */
export const compileValidator: FastifySchemaCompiler<unknown> = ({ schema, httpPart }) => {
  if (!(schema instanceof z.ZodType)) throw new TypeError('route schemas are zod schemas')
  return (data: unknown) => {
    const parsed = schema.safeParse(httpPart === 'body' ? (data ?? {}) : data)
    if (parsed.success) return { value: parsed.data }
    return { error: new BrokerError('bad_request', complaint(httpPart, parsed.error.issues)) }
  }
}

const unasked = (): never => {
  throw new TypeError('route schemas are zod schemas')
}

/** For fastify's `schemaController`, which would load ajv at every start otherwise. */
export const WITHOUT_AJV = {
  compilersFactory: { buildValidator: unasked, buildSerializer: unasked },
} as const

const PARTS: Readonly<Record<string, string>> = { body: 'body', querystring: 'query', params: 'path' }

/** The first mistake, and what is expected. Never the value, which may be a secret in the wrong field. */
function complaint(httpPart: string | undefined, issues: readonly z.core.$ZodIssue[]): string {
  const part = PARTS[httpPart ?? ''] ?? 'request'
  const [issue] = issues
  if (issue === undefined) return `the ${part} is invalid`
  if (issue.code === 'unrecognized_keys') {
    return `the ${part} has an unknown field${named(issue.keys)}`
  }
  const field = issue.path.map(String).join('.')
  return field === '' ? `the ${part} ${expected(issue)}` : `'${field}' in the ${part} ${expected(issue)}`
}

function named(keys: readonly string[]): string {
  const [key = ''] = keys
  return /^[a-z][a-z0-9_]{0,30}$/.test(key) && !/^p(?:nu|nb|ab)_/.test(key) ? `: '${key}'` : ''
}

function expected(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      // Only the message of zod says that the value is missing.
      return `${issue.message.endsWith('undefined') ? 'is missing; it' : ''} must be of type ${issue.expected}`.trim()
    case 'invalid_value':
      return `must be one of ${issue.values.map(String).join(', ')}`
    case 'too_small':
      return `must have at least ${issue.minimum}`
    case 'too_big':
      return `must have at most ${issue.maximum}`
    case 'invalid_format':
      return issue.format === 'regex' ? `must be ${issue.message}` : `must be a ${issue.format}`
    default:
      return 'is invalid'
  }
}
