/** Credentials as callers see them: what is served for each profile right now, or why nothing is. */

import { BrokerError } from '../base/errors.js'
import type { KeyFacts } from '../keys/ledger.js'
import type { Owner, Workspace } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import type { ProfileReading, ResolvedProfile } from '../profiles/profile.js'
import type { Secret } from '../std/secret.js'

/** What is served for one profile. Immutable: a change makes a new object, so it can be rendered once per object. */
export interface Served {
  readonly profile: string
  readonly kind: ResolvedProfile['kind']
  readonly apiUrl?: string
  readonly apiKey?: Secret
  readonly authString?: Secret
  /** Only if the profile or the daemon sets other endpoints than Prefect's own. */
  readonly cloudApiUrl?: string
  readonly cloudUiUrl?: string
  readonly workspace?: { readonly accountId: string; readonly workspaceId: string; readonly handle?: string }
  readonly owner?: Owner
  readonly key?: KeyFacts
  /** Prefect has begun to refuse the key. */
  readonly state?: 'doubted'
  /** The vault item of the key or auth string; absent for one from the file. */
  readonly item?: string
  readonly generation: number
  readonly because: string
}

/** A profile with what is served for it, or why nothing is. */
export interface ProfileState {
  readonly resolved: ResolvedProfile
  readonly outcome:
    | { readonly kind: 'served'; readonly served: Served }
    | { readonly kind: 'refused'; readonly error: BrokerError }
  readonly generation: number
  readonly keySource: 'vault' | 'file' | 'none'
  readonly authSource: 'vault' | 'file' | 'none'
  readonly owner?: Owner
  /** Workspaces with known names. */
  readonly workspaces: readonly Workspace[]
  readonly key?: KeyFacts
  /** Absent: Prefect accepts the key, as far as we know. */
  readonly standing?: {
    readonly kind: 'doubted' | 'rejected'
    readonly message: string
    readonly hint: string
  }
  readonly notices: readonly string[]
}

export interface Credentials {
  /**
   * Looks at the profile file if the last look is older than a second; call it before a lookup. `undefined`: everything is as
   * it was, and there is nothing to wait for.
   */
  refresh(): Promise<void> | undefined
  /** Of the given profile, or the active one. From memory. Throws `profile_not_found`. */
  state(profile?: string): ProfileState
  /** Of every profile in the file, those that have a stored secret, and the active one. */
  states(): readonly ProfileState[]
  /** The one of them with this name. */
  listed(profile: string): ProfileState | undefined
  /** Throws why nothing can be served: `login_required`, `key_host_mismatch`, `vault_locked`, … */
  serve(profile?: string): Served
  /**
   * Makes durable that this key leaves the daemon, and returns what may be sent: the same, or what has replaced it. Rejects as
   * `serve` throws.
   */
  markHandedOut(served: Served): Promise<Served>
  /** Whether it may be sent as it is, with nothing left to mark. */
  isHandedOut(served: Served): boolean
  /** Resolves when the profile's generation differs from `generation`, after `ms`, or on abort. Never rejects. */
  waitForChange(profile: string, generation: number, ms: number, signal: AbortSignal): Promise<void>
  reading(): ProfileReading
}

/** The key that is served, with the only host it may be sent to. Throws `profile_not_cloud`. */
export function target(
  credentials: Credentials,
  served: Served,
): { cloudApiUrl: string; key: NonNullable<Served['apiKey']>; profile: string } {
  const { apiKey, profile } = requireCloud(served)
  if (apiKey === undefined) throw new BrokerError('internal', 'a Cloud profile is served without a key')
  return { cloudApiUrl: credentials.state(profile).resolved.cloudApiUrl, key: apiKey, profile }
}

/** Throws `profile_not_cloud`. */
export function requireCloud(served: Served): Served {
  if (served.kind === 'cloud' && served.apiKey !== undefined) return served
  throw new BrokerError(
    'profile_not_cloud',
    `profile ${shownName(served.profile)} is not a Prefect Cloud profile`,
    { hint: 'prefect-auth login' },
  )
}
