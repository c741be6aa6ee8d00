/** The routes, and their OpenAPI description, made from the schemas that check the requests. */

import type { RouteOptions } from 'fastify'
import { z } from 'zod'
import type { ApiServer } from '../../http/schema.js'
import { defined } from '../../std/defined.js'
import type { Power } from '../../tokens/access.js'
import { problem } from '../../wire/common.js'

export interface RouteFacts {
  readonly method: string
  /** With `:name` parameters. */
  readonly url: string
  readonly needs: Power | 'none'
  readonly summary: string
  /** Whether the page may ask for it without a token. */
  readonly onPage?: true
  /** Absent: JSON. */
  readonly produces?: string
  readonly schema: {
    readonly params?: unknown
    readonly querystring?: unknown
    readonly body?: unknown
    readonly response?: unknown
  }
}

export function openapiRoutes(api: ApiServer, { book, version }: { book: RouteBook; version: string }): void {
  let body: string | undefined
  api.get(
    '/openapi.json',
    { config: { needs: 'inspect', summary: 'This description' } },
    async (_request, reply) => {
      // Made on the first request: most daemons are never asked.
      body ??= JSON.stringify(describeApi({ routes: book.routes(), version }))
      return reply.type('application/json; charset=utf-8').send(body)
    },
  )
}

export interface RouteBook {
  /** For fastify's `onRoute`. Throws for a route that does not say which power it needs: there is no default. */
  enter(route: RouteOptions): void
  routes(): readonly RouteFacts[]
  /** The methods that this path accepts, with or without a query; sorted. */
  methodsFor(target: string): readonly string[]
}

export function createRouteBook(): RouteBook {
  const routes: RouteFacts[] = []
  return {
    enter({ method, url, config, schema }) {
      const { needs, summary, onPage, produces } = config ?? {}
      if (needs === undefined || summary === undefined) {
        throw new TypeError(`route ${String(method)} ${url} must say which power it needs and what it does`)
      }
      for (const one of [method].flat()) {
        routes.push({
          method: one,
          url,
          needs,
          summary,
          schema: schema ?? {},
          ...defined({ onPage, produces }),
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

/** OpenAPI 3.1; `x-power` names the power that a route needs. */
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
        'The owner uses the unix socket and needs no token; every other listener requires one. x-power names the power.',
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
    ...defined({ security: route.needs === 'none' ? [{}] : undefined }),
    parameters: [
      ...parametersOf(route.schema.params, 'path'),
      ...parametersOf(route.schema.querystring, 'query'),
    ],
    ...defined({
      requestBody: body instanceof z.ZodType ? jsonContent(jsonSchema(body, 'input')) : undefined,
    }),
    responses: {
      ...answersOf(route),
      default: {
        description: 'the problem',
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
    {
      description: 'the answer',
      ...(schema instanceof z.ZodType ? jsonContent(jsonSchema(schema, 'output')) : {}),
    },
  ])
  return Object.fromEntries(answers)
}

function jsonContent(schema: Json): Json {
  return { content: { 'application/json': { schema } } }
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

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const

const OPERATION = {
  summary: "The profile's own Prefect API, with the current key in place of the token",
  description:
    'HTTP and WebSocket, with any body. The token is sent as Bearer, as Basic prefect-auth:TOKEN, or in the first frame of a WebSocket.',
  'x-power': 'proxy',
  security: [{}, { token: [] }, { tokenAsPassword: [] }],
  responses: {
    503: {
      description: 'no valid key at the moment, or Prefect is unreachable; wait as Retry-After says',
      headers: {
        'Retry-After': { schema: { type: 'integer' } },
        'Prefect-Maintenance': { schema: { const: 'true' } },
      },
    },
    default: {
      description: "Prefect's answer; refusals by the proxy have the same shape",
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
        description: 'the rest of the path, with its slashes',
        schema: { type: 'string' },
      },
    ],
    ...Object.fromEntries(METHODS.map((method) => [method, OPERATION])),
  },
}

const PROXY_SECURITY = {
  tokenAsPassword: { type: 'http', scheme: 'basic', description: 'user prefect-auth, password: the token' },
} as const
