/** What a share works with: the parts of the daemon, its store, and what this machine remembers. */

import type { BrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { ShareSettings } from '../config/shares.js'
import type { Changes } from '../keys/change.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { ShareRecord } from '../keys/shared.js'
import type { AccountApi } from '../prefect/account.js'
import type { CloudApi } from '../prefect/cloud.js'
import type { ServerTimes } from '../prefect/server-time.js'
import type { Credentials } from '../serve/credentials.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import type { Vault } from '../vault/vault.js'
import type { ShareDocument } from './document.js'
import type { Standing } from './plan.js'
import type { ShareStore } from './store.js'

/** What is known of the key that would rotate the shared one. */
export interface RotatorFinding {
  readonly profile: string
  /** In the account, as Prefect names it; absent: Prefect does not tell. */
  readonly role?: string
  /** Why this machine will not rotate. */
  readonly problem?: BrokerError
}

export interface ShareParts {
  readonly keeper: KeyKeeper
  readonly changes: Pick<Changes, 'run'>
  readonly cloud: CloudApi & AccountApi
  readonly credentials: Credentials
  readonly vault: Pick<Vault, 'prove'>
  readonly events: Events
  readonly times: ServerTimes
  readonly clock: Clock
  /** In [0, 1). */
  readonly random: () => number
  readonly newId: () => string
  readonly log: Log
}

export interface ShareStanding {
  readonly standing: Standing
  /** What failed last, while it does. */
  readonly trouble?: BrokerError
  /** As the store had it last. */
  readonly document?: ShareDocument
  /** Whether this machine's key may rotate; absent: it only reads, or nothing is known yet. */
  readonly rotator?: RotatorFinding
}

/** What a step may use. */
export interface ShareContext extends ShareParts {
  readonly name: string
  readonly settings: ShareSettings
  readonly store: ShareStore
  record(): ShareRecord
  /** One durable change. */
  keep(change: (record: ShareRecord) => ShareRecord): Promise<void>
  /** Texts of keys that the document has, by id. */
  readonly texts: Map<string, Secret>
  /** When to try a rotation again after this failure, of the monotonic clock. */
  retryAt(error: unknown): number
}
