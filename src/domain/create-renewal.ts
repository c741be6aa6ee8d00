/** All of the renewal, plugged together: what acts, what may be asked, and what is recovered. */
import { createRenewalAdmin } from './administer-renewal.js'
import type { ServiceAccountsApi } from './cloud.js'
import { createKeyRenewer, type KeyRenewer, type RenewKeysDeps } from './renew-keys.js'
import type { RenewalAdmin, ServiceAccountAdmin } from './renewal.js'
import { createServiceAccountAdmin } from './rotate-service-account.js'
import type { ServingCredentials } from './serve-credentials.js'
import type { Vault } from './vault.js'

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
      const isHalfDone = Object.values(journal.read().entries).some(
        (entry) => entry.kind === 'rotation' && entry.step !== 'lost',
      )
      if (!isHalfDone && clock.monotonic() - clearedAt < CLEAR_EVERY_MS) return
      clearedAt = clock.monotonic()
      await rotator.recover()
    },
  }
}
