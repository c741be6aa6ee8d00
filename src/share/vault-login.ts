/** The token for OpenBao or Vault: got by logging in, renewed at half of its life, got again when it is refused. */

import { z } from 'zod'
import { BrokerError, isBrokerError } from '../base/errors.js'
import type { VaultAuth } from '../config/shares.js'
import { createSingleFlight } from '../std/async.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { Secret } from '../std/secret.js'
import type { ReadSecret } from './store.js'
import type { VaultAnswer, VaultCaller } from './vault-call.js'

export interface VaultToken {
  readonly token: Secret
  /** Of the machine's monotonic clock. */
  readonly gotAt: number
  /** Absent: it does not expire, or nobody knows. */
  readonly lifeMs?: number
  readonly isRenewable: boolean
}

export interface VaultLogin {
  /** Rejects with `share_store_login`, or as `VaultCaller` does. */
  current(): Promise<VaultToken>
  /** The store has refused this token. Returns another one, or undefined if there is none. Rejects as `current` does. */
  replace(refused: VaultToken): Promise<VaultToken | undefined>
}

const text = z.string().min(1).max(8192)
const seconds = z.number().nonnegative()
const loginAnswer = z.object({
  auth: z.object({ client_token: text, lease_duration: seconds, renewable: z.boolean() }),
})
const lookupAnswer = z.object({ data: z.object({ ttl: seconds, renewable: z.boolean().optional() }) })

export function createVaultLogin({
  auth,
  caller,
  readSecret,
  clock,
}: {
  readonly auth: VaultAuth
  readonly caller: VaultCaller
  readonly readSecret: ReadSecret
  readonly clock: Clock
}): VaultLogin {
  const flights = createSingleFlight<VaultToken>()
  let held: VaultToken | undefined

  /** A token that somebody else makes is read each time: an agent replaces it. */
  async function fromSource(source: Extract<VaultAuth, { kind: 'token' }>['token']): Promise<VaultToken> {
    const token = await readSecret(source, 'token of the store')
    if (held?.token.equals(token) === true) return held
    return lookUp(token)
  }

  async function lookUp(token: Secret): Promise<VaultToken> {
    const purpose = 'look up the token of the store'
    const answer = await caller.call({ method: 'GET', path: 'auth/token/lookup-self', token, purpose })
    if (answer.status === 403) throw refused(caller.host, 'the token', answer)
    // A policy may not let it look itself up: then it is used as it is.
    const read = lookupAnswer.safeParse(answer.json)
    const { ttl = 0, renewable = false } = read.success ? read.data.data : {}
    const lifeMs = ttl === 0 ? undefined : ttl * SECOND_MS
    return { token, gotAt: clock.monotonic(), isRenewable: renewable, ...defined({ lifeMs }) }
  }

  async function logIn(): Promise<VaultToken> {
    if (auth.kind === 'token') return fromSource(auth.token)
    const { mount } = auth
    const path = `auth/${mount.split('/').map(encodeURIComponent).join('/')}/login`
    const purpose = `log in to the store with ${auth.kind}`
    const answer = await caller.call({ method: 'POST', path, body: await proofOf(auth), purpose })
    const read = loginAnswer.safeParse(answer.json)
    if (!read.success) throw refused(caller.host, `the ${auth.kind} login`, answer)
    return toToken(read.data)
  }

  async function proofOf(way: Exclude<VaultAuth, { kind: 'token' }>): Promise<Record<string, string>> {
    switch (way.kind) {
      case 'approle': {
        const secretId = await readSecret(way.secretId, 'secret id of the store')
        return { role_id: way.roleId, secret_id: secretId.reveal() } // to the store that has made it
      }
      case 'kubernetes': {
        const jwt = await readSecret(way.jwt, 'service account token')
        return { role: way.role, jwt: jwt.reveal() } // to the store, which asks Kubernetes about it
      }
      case 'cert':
        return defined({ name: way.role })
    }
  }

  function toToken({
    auth: { client_token, lease_duration, renewable },
  }: z.output<typeof loginAnswer>): VaultToken {
    const lifeMs = lease_duration === 0 ? undefined : lease_duration * SECOND_MS
    const token = new Secret(client_token)
    return { token, gotAt: clock.monotonic(), isRenewable: renewable, ...defined({ lifeMs }) }
  }

  /** What cannot be renewed any more is got again while it still works. OpenBao answers 500 to the last renewal. */
  async function renew(old: VaultToken): Promise<VaultToken> {
    const purpose = 'renew the token of the store'
    const { token } = old
    const request = { method: 'POST', path: 'auth/token/renew-self', token, body: {}, purpose } as const
    try {
      const read = loginAnswer.safeParse((await caller.call(request)).json)
      if (read.success) return toToken(read.data)
    } catch (error) {
      if (!isBrokerError(error, 'share_store_unreachable')) throw error
    }
    return auth.kind === 'token' ? { ...old, isRenewable: false } : logIn()
  }

  async function next(): Promise<VaultToken> {
    if (auth.kind === 'token') held = await fromSource(auth.token)
    if (held === undefined) return logIn()
    const { lifeMs, gotAt, isRenewable } = held
    if (lifeMs === undefined || clock.monotonic() - gotAt < lifeMs / 2) return held
    if (isRenewable) return renew(held)
    return auth.kind === 'token' ? held : logIn()
  }

  const hold = async (token: Promise<VaultToken>): Promise<VaultToken> => {
    held = await token
    return held
  }

  return {
    current: () => flights.run('current', () => hold(next())),
    async replace(old) {
      if (held === old) held = undefined
      const fresh = await flights.run('current', () => hold(next()))
      return fresh.token.equals(old.token) ? undefined : fresh
    },
  }
}

function refused(host: string, what: string, { status, errors }: VaultAnswer): BrokerError {
  const why = errors.length === 0 ? `status ${status}` : errors.join('; ')
  return new BrokerError('share_store_login', `${host} does not accept ${what}: ${why}`, {
    hint: 'check the auth settings of the share, and whether the secret has expired',
  })
}
