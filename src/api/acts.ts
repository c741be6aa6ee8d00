/** How many requests that may change something are under way, even if their callers have gone. */
import type { RouteOptions } from 'fastify'

export interface ActBook {
  /** To be called for each route as it is added. Counts requests that may change something. */
  watch(route: RouteOptions): void
  underWay(): number
}

export function createActBook(): ActBook {
  let count = 0
  return {
    watch(route) {
      if (route.method === 'GET' || route.method === 'HEAD') return
      const { handler } = route
      route.handler = async function act(request, reply) {
        count += 1
        try {
          return await handler.call(this, request, reply)
        } finally {
          count -= 1
        }
      }
    },
    underWay: () => count,
  }
}
