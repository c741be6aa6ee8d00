/** `/users/{id}` and `/users/{id}/api_keys`: a user's keys, for that user only. */
import { z } from 'zod'
import type { IssuedKey, KeyStore } from '../keys.js'
import { type AuthedRequest, detail, json, noContent, refusal } from '../ui/exchange.js'
import type { Route } from './router.js'
import type { User } from './rows.js'

const WantedKey = z.object({ name: z.string().min(1), expiration: z.string().nullish() })

interface UserRouteOptions {
  readonly keys: KeyStore
  /** Whether `GET /users/{id}/api_keys` exists; its path is not known (research/prefect.md 2.3). */
  readonly keyListing: boolean
  /** Whether users may mint keys by API at all. */
  readonly minting: () => boolean
}

/** research/prefect.md 2.2: no trailing slashes; 201, 200, 204; no update, no rotation. */
export function userRoutes(options: UserRouteOptions): Route<AuthedRequest>[] {
  const { keys, keyListing } = options
  const list: Route<AuthedRequest> = {
    method: 'GET',
    path: '/users/:userId/api_keys',
    run: (request) => json(200, keys.ofOwner(self(request).id).map(keyJson)),
  }
  return [
    { method: 'GET', path: '/users/:userId', run: (request) => json(200, userJson(self(request))) },
    { method: 'POST', path: '/users/:userId/api_keys', run: (request) => mint(request, options) },
    ...(keyListing ? [list] : []),
    {
      method: 'GET',
      path: '/users/:userId/api_keys/:keyId',
      run: (request) => json(200, keyJson(ownKey(request, keys))),
    },
    {
      method: 'DELETE',
      path: '/users/:userId/api_keys/:keyId',
      run(request) {
        keys.delete(ownKey(request, keys).id)
        return noContent()
      },
    },
  ]
}

async function mint(request: AuthedRequest, { keys, minting }: UserRouteOptions) {
  const user = self(request)
  const { name, expiration } = await request.body(WantedKey)
  if (!minting()) throw refusal(detail(403, 'API key creation is not allowed.'))
  const wanted = { ownerId: user.id, prefix: 'pnu_', name, mintedWith: request.key.fingerprint } as const
  const { key, text } = keys.issue({ ...wanted, ...parseExpiration(expiration) })
  return json(201, { ...keyJson(key), key: text })
}

/** research/prefect.md 2.2: only the user itself may make requests for a user. */
function self({ actor, param }: AuthedRequest): User {
  if (actor.kind === 'bot' || actor.id !== param('userId')) throw refusal(detail(403, 'Forbidden'))
  return actor
}

function ownKey(request: AuthedRequest, keys: KeyStore): IssuedKey {
  const owner = self(request)
  const key = keys.ofOwner(owner.id).find(({ id }) => id === request.param('keyId'))
  if (key === undefined) throw refusal(detail(404, 'API key not found'))
  return key
}

/** RFC 3339, kept as text because it is echoed unchanged; absent or null if the key never expires. */
export function parseExpiration(
  text: string | null | undefined,
): { readonly expiresAt: number; readonly expirationText: string } | undefined {
  if (text === undefined || text === null) return undefined
  const expiresAt = Date.parse(text)
  if (Number.isNaN(expiresAt) || !/^\d{4}-\d\d-\d\dT/.test(text)) {
    throw refusal(detail(422, 'expiration: input should be a valid datetime'))
  }
  return { expiresAt, expirationText: text }
}

/** A key as the API shows it; its text is only in the response that created it. */
export function keyJson({ id, name, createdAt, expiresAt, expirationText }: IssuedKey) {
  return {
    id,
    created: new Date(createdAt).toISOString(),
    name,
    expiration: expirationText ?? (expiresAt === undefined ? null : new Date(expiresAt).toISOString()),
  }
}

function userJson({ id, actorId, handle, firstName, lastName, email }: User) {
  return { id, actor_id: actorId, handle, first_name: firstName, last_name: lastName, email }
}
