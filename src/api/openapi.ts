/** The description of the API, made from the very schemas that check the requests. Pure. */
import { z } from 'zod'
import { problem } from '../wire/common.js'
import { PROXY_PATH, PROXY_SECURITY } from './openapi-proxy.js'
import type { RouteFacts } from './route-book.js'

type Json = Record<string, unknown>

/** OpenAPI 3.1. The power that a route takes stands in `x-power`. */
export function describeApi({ routes, version }: { routes: readonly RouteFacts[]; version: string }): Json {
  const paths: Record<string, Json> = {}
  for (const route of routes) {
    const path = route.url.replace(/:(\w+)/g, '{$1}')
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: describeRoute(route) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'prefect-auth-broker',
      version,
      description:
        'The owner asks over the unix socket and needs no token; every other door needs one. x-power names the power.',
    },
    servers: [{ url: 'http://authd', description: 'the unix socket' }],
    security: [{}, { token: [] }],
    paths: { ...paths, ...PROXY_PATH },
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' }, ...PROXY_SECURITY },
      schemas: { Problem: jsonSchema(problem, 'output') },
    },
  }
}

function describeRoute(route: RouteFacts): Json {
  const { body } = route.schema
  return {
    summary: route.summary,
    'x-power': route.needs,
    ...(route.needs === 'none' ? { security: [{}] } : {}),
    parameters: [
      ...parametersOf(route.schema.params, 'path'),
      ...parametersOf(route.schema.querystring, 'query'),
    ],
    ...(body instanceof z.ZodType
      ? { requestBody: { content: { 'application/json': { schema: jsonSchema(body, 'input') } } } }
      : {}),
    responses: {
      ...answersOf(route),
      default: {
        description: 'what went wrong',
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    },
  }
}

function answersOf({ schema: { response }, produces }: RouteFacts): Json {
  if (produces !== undefined) {
    return { 200: { description: 'the answer', content: { [produces]: { schema: { type: 'string' } } } } }
  }
  if (typeof response !== 'object' || response === null) return { 200: { description: 'the answer' } }
  const answers = Object.entries(response).map(([status, schema]) => [
    status,
    schema instanceof z.ZodType
      ? {
          description: 'the answer',
          content: { 'application/json': { schema: jsonSchema(schema, 'output') } },
        }
      : { description: 'the answer' },
  ])
  return Object.fromEntries(answers)
}

function parametersOf(schema: unknown, place: 'path' | 'query'): Json[] {
  if (!(schema instanceof z.ZodType)) return []
  const { properties = {}, required = [] } = z.toJSONSchema(schema, { io: 'input' })
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    schema: property,
  }))
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io })
  return rest
}
