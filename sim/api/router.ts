/** Finds the route for a method and a path; a wrong trailing slash is a 404, as at Prefect Cloud. */
import { type Answer, detail } from '../ui/exchange.js'

export interface Route<R> {
  readonly method: string
  /** `/users/:userId/api_keys`; a part that begins with `:` matches one path segment. */
  readonly path: string
  readonly run: (request: R) => Promise<Answer> | Answer
}

type Match<R> =
  | { readonly kind: 'route'; readonly route: Route<R>; param(name: string): string }
  | { readonly kind: 'none'; readonly answer: Answer }

/** 404 and 405 as FastAPI words them; 405 if the path exists for other methods only. */
export function matchRoute<R>(routes: readonly Route<R>[], method: string, path: string): Match<R> {
  const hits = routes.flatMap((route) => {
    const params = paramsOf(route.path, path)
    return params === undefined ? [] : [{ route, params }]
  })
  const hit = hits.find(({ route }) => route.method === method)
  if (hit !== undefined) {
    return { kind: 'route', route: hit.route, param: (name) => hit.params.get(name) ?? '' }
  }
  return {
    kind: 'none',
    answer: hits.length > 0 ? detail(405, 'Method Not Allowed') : detail(404, 'Not Found'),
  }
}

function paramsOf(pattern: string, path: string): Map<string, string> | undefined {
  const wanted = pattern.split('/')
  const given = path.split('/')
  if (wanted.length !== given.length) return undefined
  const params = new Map<string, string>()
  for (const [index, part] of wanted.entries()) {
    const text = given[index] ?? ''
    if (part.startsWith(':') && text !== '') params.set(part.slice(1), text)
    else if (part !== text) return undefined
  }
  return params
}
