/** One snapshot of everything, without secrets. */

import type { LoginView } from '../login/login.js'
import type { ProfileReading } from '../profiles/profile.js'
import type { RenewalView } from '../renewal/view.js'
import type { ProfileState } from '../serve/credentials.js'
import type { VaultDescription } from '../vault/vault.js'

export interface ListenerFacts {
  readonly door: 'socket' | 'restricted' | 'tcp'
  readonly address: string
  readonly state: 'listening' | 'off' | 'failed'
  readonly problem?: string
  /** The system opened it, and keeps it while we are away. */
  readonly inherited?: true
}

export interface DaemonFacts {
  readonly version: string
  readonly pid: number
  /** Epoch ms. */
  readonly startedAt: number
  readonly node: string
  readonly stateDir: string
  readonly configFile?: string
  readonly logLevel: string
}

export interface StatusSnapshot {
  readonly daemon: DaemonFacts
  readonly listeners: readonly ListenerFacts[]
  readonly vault: VaultDescription
  readonly reading: ProfileReading
  readonly active: string
  readonly profiles: readonly ProfileState[]
  /** By profile; none where we hold no key. */
  readonly renewals: ReadonlyMap<string, RenewalView>
  readonly logins: readonly LoginView[]
  readonly notices: readonly string[]
}
