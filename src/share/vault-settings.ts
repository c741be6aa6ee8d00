/** How a share reaches OpenBao or HashiCorp Vault. */

import type { SecretSource } from './store.js'

/** With what the store is logged in to; `mount`: of the auth method. */
export type VaultAuth =
  /** A token that somebody else has made, such as an agent's. */
  | { readonly kind: 'token'; readonly token: SecretSource }
  | {
      readonly kind: 'approle'
      readonly mount: string
      readonly roleId: string
      readonly secretId: SecretSource
    }
  | { readonly kind: 'kubernetes'; readonly mount: string; readonly role: string; readonly jwt: SecretSource }
  /** PEM files; the key's may be read by us only. */
  | {
      readonly kind: 'cert'
      readonly mount: string
      readonly certFile: string
      readonly keyFile: string
      readonly role?: string
    }

export interface VaultSettings {
  /** `https://vault.example.com:8200`; `http` to loopback only. */
  readonly url: string
  readonly namespace?: string
  /** Of the KV version 2 engine: `secret`. */
  readonly mount: string
  /** In it: `prefect/prod`. */
  readonly path: string
  /** A PEM file; absent: the system's authorities. */
  readonly caFile?: string
  readonly auth: VaultAuth
}
