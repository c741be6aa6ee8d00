/** The one place where the proxy puts the secret itself into what goes to Prefect. */
import type { Served } from '../serve/credentials.js'
import type { Upstream } from './upstream.js'

export interface Authorizer {
  /** The `Authorization` for the upstream; `undefined` where the profile has no secret. */
  header(served: Served, upstream: Upstream): string | undefined
  /** The token of the first frame of a WebSocket; `null` where there is none, as Prefect sends it. */
  frameToken(served: Served): string | null
}

export function createAuthorizer(): Authorizer {
  // An answer is an immutable object: its header is made once.
  const headers = new WeakMap<Served, string>()
  return {
    header(served, upstream) {
      const known = headers.get(served)
      if (known !== undefined) return known
      const made = headerOf(served, upstream)
      if (made !== undefined) headers.set(served, made)
      return made
    },
    frameToken: ({ kind, apiKey, authString }) => (kind === 'cloud' ? apiKey : authString)?.reveal() ?? null,
  }
}

function headerOf({ kind, apiKey, authString }: Served, { userinfo }: Upstream): string | undefined {
  if (kind === 'cloud') return apiKey === undefined ? undefined : `Bearer ${apiKey.reveal()}`
  const login = authString?.reveal() ?? userinfo
  return login === undefined ? undefined : `Basic ${Buffer.from(login).toString('base64')}`
}

/** Names what was sent without telling it: empty where nothing was. */
export function fingerprintOf({ kind, apiKey, authString }: Served): string {
  return (kind === 'cloud' ? apiKey : authString)?.fingerprint() ?? ''
}
