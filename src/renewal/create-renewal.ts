/** All of the renewal, plugged together: what acts, what may be asked, and what is recovered. */

import { isHalfDone } from '../keys/journal.js'
import type { ServiceAccountsApi } from '../prefect/cloud.js'
import type { ServingCredentials } from '../serve/serve.js'
import type { Vault } from '../vault/vault.js'
import { createRenewalAdmin } from './renewal.js'
import type { RenewalAdmin, ServiceAccountAdmin } from './renewal-part.js'
import { createKeyRenewer, type KeyRenewer, type RenewKeysDeps } from './renewer.js'
import { createServiceAccountAdmin } from './service-accounts.js'

export interface RenewalDeps extends RenewKeysDeps {
  readonly credentials: ServingCredentials
  readonly cloud: RenewKeysDeps['cloud'] & ServiceAccountsApi
  readonly vault: Pick<Vault, 'prove'>
  readonly newId: () => string
}

export interface Renewal extends KeyRenewer {
  readonly admin: RenewalAdmin
  readonly serviceAccounts: ServiceAccountAdmin
  /** Renews where it is due, whatever comes of it. Never rejects. */
  renewIfDue(profile: string): Promise<void>
  /** Settles what is left in the journal: at once what is half done, once an hour what is only to be cleared away. */
  recover(): Promise<void>
}

const CLEAR_EVERY_MS = 3_600_000

export function createRenewal(deps: RenewalDeps): Renewal {
  const { keeper, credentials, journal, rotator, clock, time, log } = deps
  const renewer = createKeyRenewer(deps)
  const bots = createServiceAccountAdmin({ ...deps, clock: time.clock })
  let clearedAt = Number.NEGATIVE_INFINITY
  let wasSure = false
  return {
    ...renewer,
    admin: createRenewalAdmin({ keeper, credentials, renewer, now: () => time.clock.now() }),
    serviceAccounts: bots,
    async renewIfDue(profile) {
      try {
        await renewer.renew(profile, { isForced: false })
      } catch (error) {
        log.warn({ profile, error }, 'a key that Prefect refused could not be renewed')
      }
    },
    async recover() {
      await bots.recover()
      const isUrgent = Object.values(journal.read().entries).some(
        (entry) => entry.kind === 'rotation' && isHalfDone(entry),
      )
      // Dead keys are cleared away only where Prefect has said what time it is, which it has not at the start.
      const isCleared = clock.monotonic() - clearedAt < CLEAR_EVERY_MS && (wasSure || !time.isFresh())
      if (!isUrgent && isCleared) return
      clearedAt = clock.monotonic()
      wasSure = time.isFresh()
      await rotator.recover()
    },
  }
}
