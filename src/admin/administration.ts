/** What an owner may change: profiles, workspaces, keys, the vault. Interfaces that the http routes call. */

import type { Workspace } from '../prefect/cloud.js'
import type { KeyFacts } from '../serve/credentials.js'
import type { Check } from '../status/doctor-part.js'
import type { StatusSnapshot } from '../status/status-part.js'
import type { Secret } from '../std/secret.js'
import type { VaultDescription } from '../vault/vault.js'

export interface ProfileAdmin {
  use(name: string): Promise<void>
  create(wanted: {
    readonly name: string
    readonly apiUrl?: string
    readonly authString?: Secret
  }): Promise<void>
  /** `null` removes. */
  change(
    name: string,
    wanted: { readonly apiUrl?: string | null; readonly authString?: Secret | null },
  ): Promise<void>
  delete(name: string): Promise<void>
  rename(name: string, to: string): Promise<void>
  /** Moves the file's plain-text key into the vault, then out of the file. `profile_has_no_key` where there is none. */
  adopt(name: string): Promise<{ readonly fingerprint: string; readonly message: string }>
  /** Forgets our key everywhere and keeps the URL; with `revoke` deletes what it can at Prefect first. */
  logout(name: string, options: { readonly revoke: boolean }): Promise<LogoutOutcome>
}

export interface LogoutOutcome {
  readonly forgotten: readonly string[]
  readonly revoked: readonly string[]
  readonly notRevoked: readonly { readonly fingerprint: string; readonly reason: string }[]
}

export interface WorkspaceAdmin {
  /** Asks Prefect, and remembers the names. */
  list(profile?: string): Promise<{
    readonly profile: string
    readonly workspaces: readonly Workspace[]
    readonly currentId?: string
  }>
  /** `workspace_not_found` names what there is. Writes the profile's URL. */
  choose(
    profile: string | undefined,
    workspace: string,
  ): Promise<{ readonly profile: string; readonly workspace: Workspace; readonly apiUrl: string }>
}

/** A key that Prefect lists and we do not hold has no fingerprint and no origin that we could know. */
export interface KeyEntry
  extends Omit<KeyFacts, 'fingerprint' | 'origin'>,
    Partial<Pick<KeyFacts, 'fingerprint' | 'origin'>> {
  readonly profile: string
  readonly state: 'current' | 'retired' | 'at_prefect'
  readonly isHandedOut?: boolean
  readonly retiredAt?: number
}

export interface KeyAdmin {
  /** What we hold, and what Prefect lists where it does; `notices` say what it does not. */
  list(profile?: string): Promise<{ readonly keys: readonly KeyEntry[]; readonly notices: readonly string[] }>
  create(wanted: { readonly profile?: string; readonly name: string; readonly expiresAt?: number }): Promise<{
    readonly profile: string
    readonly id: string
    readonly name: string
    readonly key: Secret
    readonly expiresAt?: number
  }>
  /** Refuses (`login_state`… `conflict`) to delete the key that is being served. */
  delete(id: string, profile?: string): Promise<'deleted' | 'already_gone'>
}

export interface VaultAdmin {
  unlock(passphrase: Secret): Promise<VaultDescription>
  lock(): Promise<VaultDescription>
}

export interface Inspection {
  status(): StatusSnapshot
  doctor(): Promise<readonly Check[]>
}
