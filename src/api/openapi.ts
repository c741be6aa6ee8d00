/** The description of the API, made from the very schemas that check the requests. Pure. */

import type { RouteOptions } from 'fastify'
import { z } from 'zod'
import { defined } from '../std/defined.js'
import type { Power } from '../tokens/access.js'
import { problem } from '../wire/common.js'

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const

const OPERATION = {
  summary: "The profile's own Prefect API, with its key in the place of our token",
  description:
    'HTTP and WebSocket, every body. The token comes as Bearer, as Basic prefect-auth:TOKEN, or in the first frame of a WebSocket.',
  'x-power': 'proxy',
  security: [{}, { token: [] }, { tokenAsPassword: [] }],
  responses: {
    503: {
      description: 'no valid key for now, or no Prefect: wait as Retry-After says',
      headers: {
        'Retry-After': { schema: { type: 'integer' } },
        'Prefect-Maintenance': { schema: { const: 'true' } },
      },
    },
    default: {
      description: "Prefect's answer; our own refusals have Prefect's shape",
      content: { '*/*': {} },
    },
  },
} as const

const PROXY_PATH = {
  '/proxy/{profile}/api/{path}': {
    parameters: [
      { name: 'profile', in: 'path', required: true, schema: { type: 'string' } },
      {
        name: 'path',
        in: 'path',
        required: true,
        description: 'the rest, slashes and all, as Prefect’s clients ask for it',
        schema: { type: 'string' },
      },
    ],
    ...Object.fromEntries(METHODS.map((method) => [method, OPERATION])),
  },
}

const PROXY_SECURITY = {
  tokenAsPassword: { type: 'http', scheme: 'basic', description: 'user prefect-auth, the token as password' },
} as const

export interface RouteFacts {
  readonly method: string
  /** With `:name` parameters. */
  readonly url: string
  readonly needs: Power | 'none'
  readonly summary: string
  /** Absent: JSON. */
  readonly produces?: string
  readonly schema: {
    readonly params?: unknown
    readonly querystring?: unknown
    readonly body?: unknown
    readonly response?: unknown
  }
}

export interface RouteBook {
  /** fastify's `onRoute`. Throws for a route that does not say which power it needs: the default is no route. */
  enter(route: RouteOptions): void
  routes(): readonly RouteFacts[]
  /** The methods that this path, with its query or without, takes. */
  methodsFor(target: string): readonly string[]
}

export function createRouteBook(): RouteBook {
  const routes: RouteFacts[] = []
  return {
    enter({ method, url, config, schema }) {
      const { needs, summary, produces } = config ?? {}
      if (needs === undefined || summary === undefined) {
        throw new TypeError(`route ${String(method)} ${url} must say which power it needs, and what it does`)
      }
      for (const one of [method].flat()) {
        routes.push({
          method: one,
          url,
          needs,
          summary,
          schema: schema ?? {},
          ...defined({ produces }),
        })
      }
    },
    routes: () => routes,
    methodsFor(target) {
      const [path = ''] = target.split('?', 1)
      const methods = routes.filter(({ url }) => matches(url, path)).map(({ method }) => method)
      return [...new Set(methods)].sort()
    },
  }
}

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/')
  const given = path.split('/')
  return (
    wanted.length === given.length &&
    wanted.every((part, index) => (part.startsWith(':') ? given[index] !== '' : part === given[index]))
  )
}

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
