/** How the clients of a profile connect: the certificates that they trust, and the headers that they add. Pure. */

import { defined } from '../std/defined.js'
import { Secret } from '../std/secret.js'

export interface TlsSettings {
  /** PEM certificates, trusted instead of Node's own list, as httpx does. */
  readonly caFile?: string
  /** The setting that names the file; default `SSL_CERT_FILE`. */
  readonly namedBy?: string
  /** No certificate is looked at: whoever is on the way may be the server, and gets the key. */
  readonly isUnverified?: true
}

export interface ConnectionSettings {
  /** Absent: as the daemon's own. */
  readonly tls?: TlsSettings
  /** In addition to ours, and never in place of them. A value may be a secret (Cloudflare Access). */
  readonly headers?: readonly (readonly [name: string, value: Secret])[]
}

type Settings = Readonly<Record<string, string>>

const CA_FILE = 'PREFECT_API_SSL_CERT_FILE'
const HEADERS = 'PREFECT_CLIENT_CUSTOM_HEADERS'

/** By the settings of a profile's table; `undefined` if it has none of these. */
export function connectionOf(settings: Settings): ConnectionSettings | undefined {
  const tls = tlsOf(settings)
  const headers = headersOf(settings[HEADERS])
  if (tls === undefined && headers.length === 0) return undefined
  return defined({ tls, headers: headers.length > 0 ? headers : undefined })
}

function tlsOf(settings: Settings): TlsSettings | undefined {
  // As in Prefect: who does not look at certificates needs none.
  if (isUnverified(settings)) return { isUnverified: true }
  const caFile = settings[CA_FILE]
  return caFile ? { caFile, namedBy: CA_FILE } : undefined
}

/** As pydantic reads a boolean. */
export function isUnverified({ PREFECT_API_TLS_INSECURE_SKIP_VERIFY: value = '' }: Settings): boolean {
  return /^(?:1|true|t|yes|y|on)$/i.test(value)
}

/** Of one message, of its body, or Prefect's own. And an Authorization would take the place of the key. */
const RESERVED =
  /^(?:authorization|accept-encoding|connection|content-.*|date|expect|host|keep-alive|proxy-.*|prefect-csrf-.*|sec-websocket-.*|te|trailer|transfer-encoding|upgrade|user-agent)$/i

function headersOf(json: string | undefined): readonly (readonly [string, Secret])[] {
  return customHeaders(json).flatMap(([name, value]) => {
    const isUsable = /^[\w!#$%&'*+.^`|~-]+$/.test(name) && /^[\t\x20-\x7e\x80-\xff]*$/.test(value)
    return isUsable && !RESERVED.test(name) ? [[name, new Secret(value)] as const] : []
  })
}

/** The profile's headers for its own server, in small letters, without those that `own` has. */
export function headersBeside(
  own: Readonly<Record<string, string>>,
  connection: ConnectionSettings | undefined,
): Record<string, string> {
  const custom = (connection?.headers ?? []).map(
    ([name, value]) => [name.toLowerCase(), value.reveal()] as const, // to the server of this very profile
  )
  return Object.fromEntries(custom.filter(([name]) => !Object.hasOwn(own, name)))
}

/** What `PREFECT_CLIENT_CUSTOM_HEADERS` names; nothing if it is not a JSON object, with which Prefect does not start. */
export function customHeaders(json: string | undefined): readonly (readonly [string, string])[] {
  try {
    const value: unknown = JSON.parse(json ?? '{}')
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return []
    return Object.entries(value).flatMap(([name, text]) =>
      typeof text === 'string' ? [[name, text] as const] : [],
    )
  } catch {
    return []
  }
}
