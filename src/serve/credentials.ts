/** What is served, for each profile, right now. Types; `serve-credentials.ts` computes and holds them. */

import { BrokerError } from '../base/errors.js'
import type { KeyFacts } from '../keys/ledger.js'
import type { Owner, Workspace } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import type { ProfileReading, ResolvedProfile } from '../profiles/profile.js'
import type { Secret } from '../std/secret.js'

/**
 * The current answer for one profile. Immutable: a change makes a new object, so that an answer can be rendered once
 * per object and kept.
 */
export interface Served {
  readonly profile: string
  readonly kind: ResolvedProfile['kind']
  readonly apiUrl?: string
  readonly apiKey?: Secret
  readonly authString?: Secret
  /** Only where the profile or the daemon sets other endpoints than Prefect's own. */
  readonly cloudApiUrl?: string
  readonly cloudUiUrl?: string
  readonly workspace?: { readonly accountId: string; readonly workspaceId: string; readonly handle?: string }
  readonly owner?: Owner
  readonly key?: KeyFacts
  /** The vault item of the key, absent for a key out of the file. */
  readonly item?: string
  readonly generation: number
  readonly because: string
}

/** A profile with what can be served for it, or why nothing can. */
export interface ProfileState {
  readonly resolved: ResolvedProfile
  readonly outcome:
    | { readonly kind: 'served'; readonly served: Served }
    | { readonly kind: 'refused'; readonly error: BrokerError }
  readonly generation: number
  readonly keySource: 'vault' | 'file' | 'none'
  readonly authSource: 'vault' | 'file' | 'none'
  readonly owner?: Owner
  /** Known names for workspace ids. */
  readonly workspaces: readonly Workspace[]
  readonly key?: KeyFacts
  readonly notices: readonly string[]
}

export interface Credentials {
  /** Looks at the profile file if the last look is older than a second. Cheap otherwise; call it before a lookup. */
  refresh(): Promise<void>
  /** The profile asked for, else the active one. Throws `profile_not_found`. Memory only. */
  state(profile?: string): ProfileState
  /** Every profile: those of the file, those we hold a key for, and the active one. */
  states(): readonly ProfileState[]
  /** The answer, or throws the reason: `login_required`, `key_rejected`, `vault_locked`, … */
  serve(profile?: string): Served
  /**
   * Makes durable that this key leaves the daemon, and answers what may be given: the same, or what took its place in the
   * meantime. Rejects as `serve` throws.
   */
  markHandedOut(served: Served): Promise<Served>
  /** Resolves when the profile's generation is no longer `generation`, after `ms`, or on abort; never rejects. */
  waitForChange(profile: string, generation: number, ms: number, signal: AbortSignal): Promise<void>
  reading(): ProfileReading
}
/** The key that is served, with the one host it may go to. Throws `profile_not_cloud`. */

export function target(
  credentials: Credentials,
  served: Served,
): { cloudApiUrl: string; key: NonNullable<Served['apiKey']> } {
  const { apiKey, profile } = requireCloud(served)
  if (apiKey === undefined) throw new BrokerError('internal', 'a Cloud profile is served without a key')
  return { cloudApiUrl: credentials.state(profile).resolved.cloudApiUrl, key: apiKey }
}
export function requireCloud(served: Served): Served {
  if (served.kind === 'cloud' && served.apiKey !== undefined) return served
  throw new BrokerError(
    'profile_not_cloud',
    `profile ${shownName(served.profile)} is not a Prefect Cloud profile`,
    {
      hint: 'prefect-auth login',
    },
  )
}
