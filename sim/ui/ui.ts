/** The web UI's part of a login: the page, and the key it fetches when the user agrees. */
import { randomUUID } from 'node:crypto'
import { matchRoute, type Route } from '../api/router.js'
import type { User } from '../api/rows.js'
import type { SimClock } from '../clock.js'
import type { KeyStore } from '../keys.js'
import type { UnroutedRequest } from '../server/incoming.js'
import { type Answer, detail, html, json } from './exchange.js'
import { type LoginRequest, loginPage } from './page.js'

interface UiParts {
  readonly clock: SimClock
  readonly keys: KeyStore
  /** The user signed in to the browser. */
  readonly user: () => User
  /** The page delivers the key on load, without a click. */
  readonly autoApprove: boolean
  /** Whether a path in the callback survives; what the real page does is unknown (research/prefect.md, unknown 6). */
  readonly callbackPath: 'keep' | 'drop'
}

export interface Ui {
  answer(request: UnroutedRequest): Promise<Answer>
  /** Returns `undefined` if the query has no usable `callback`. */
  parse(query: URLSearchParams): LoginRequest | undefined
  /** Issues the key that the signed-in user's browser delivers. */
  issue(): string
}

export function createUi(parts: UiParts): Ui {
  const { clock, keys, user, autoApprove, callbackPath } = parts
  const parse = (query: URLSearchParams) => parseLogin(query, callbackPath)
  const issue = () => {
    const { id: ownerId } = user()
    const name = `cli-${randomUUID()}`
    return keys.issue({ ownerId, prefix: 'pnu_', name, expiresAt: browserKeyEnd(clock.now()) }).text
  }
  const routes: Route<UnroutedRequest>[] = [
    {
      method: 'GET',
      path: '/auth/client',
      run({ query }) {
        const login = parse(query)
        if (login === undefined) return html(400, '<!doctype html><title>Error</title><p>No callback.</p>')
        const page = loginPage({ ...login, owner: user().email, auto: autoApprove })
        return html(200, page, { 'cache-control': 'no-cache' })
      },
    },
    {
      method: 'POST',
      path: '/auth/client/key',
      run: ({ headers }) => {
        // A cross-site form cannot send JSON: without this any page could make the simulator issue keys.
        if (headers['content-type'] !== 'application/json') return detail(415, 'Unsupported Media Type')
        return json(200, { api_key: issue() }, { 'cache-control': 'no-store' })
      },
    },
  ]
  return {
    parse,
    issue,
    async answer(request) {
      const match = matchRoute(routes, request.method, request.path)
      return match.kind === 'none' ? match.answer : match.route.run(request)
    },
  }
}

function parseLogin(query: URLSearchParams, callbackPath: 'keep' | 'drop'): LoginRequest | undefined {
  const callback = query.get('callback') ?? ''
  if (!/^https?:\/\//.test(callback) || !URL.canParse(callback)) return undefined
  const target = callbackPath === 'drop' ? new URL(callback).origin : callback.replace(/\/$/, '')
  return { callback: target, byGet: query.get('g') === 'true' }
}

const DAY = 86_400_000

/** research/prefect.md 2.3: 30 days after creation, at midnight; the time zone is unknown, so UTC is assumed. */
function browserKeyEnd(now: number): number {
  return Math.floor((now + 30 * DAY) / DAY) * DAY
}
