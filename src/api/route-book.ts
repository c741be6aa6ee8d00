/** Every route as it was registered: what 405 answers, the API description and the tests go by. */
import type { RouteOptions } from 'fastify'
import type { Power } from '../tokens/access.js'

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
          ...(produces === undefined ? {} : { produces }),
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
