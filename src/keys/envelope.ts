/** The text of a vault item: a secret with what it is and where it belongs. */

import { BrokerError } from '../base/errors.js'
import { Secret } from '../std/secret.js'

export interface Envelope {
  readonly kind: 'api_key' | 'auth_string'
  readonly profile: string
  /** The API base that the secret belongs to. */
  readonly apiUrl: string
  readonly secret: Secret
}

/** The text that goes into the vault. */
export function sealEnvelope({ kind, profile, apiUrl, secret }: Envelope): Secret {
  return new Secret(JSON.stringify({ v: 1, kind, profile, api_url: apiUrl, secret: secret.reveal() })) // what the vault keeps
}

/** Reads what came out of the vault. Throws `vault_corrupt` for anything that `sealEnvelope` did not write. */
export function openEnvelope(item: string, sealed: Secret): Envelope {
  const content = parseObject(sealed)
  const { kind, profile, api_url: apiUrl, secret } = content
  if (
    content.v === 1 &&
    (kind === 'api_key' || kind === 'auth_string') &&
    typeof profile === 'string' &&
    typeof apiUrl === 'string' &&
    typeof secret === 'string'
  ) {
    return { kind, profile, apiUrl, secret: new Secret(secret) }
  }
  throw new BrokerError('vault_corrupt', `the vault item ${item} is not what was stored`, {
    hint: 'prefect-auth login',
  })
}

function parseObject(sealed: Secret): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(sealed.reveal()) // read back from the vault
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}
