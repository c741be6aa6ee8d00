/** What is being done for callers, counted until it is done: they may have gone long before. */
import type { RouteOptions } from 'fastify'

export interface ActBook {
  /** To be called for every route as it is added. What only looks is not counted. */
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
