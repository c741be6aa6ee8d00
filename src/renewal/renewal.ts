/** Renewal as the daemon uses it: the renewer, renewal on request, service accounts, and recovery. */

import { BrokerError } from '../base/errors.js'
import type { Changes } from '../keys/change.js'
import { isHalfDone } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyFacts, KeyRecord } from '../keys/ledger.js'
import type { AccountApi } from '../prefect/account.js'
import type { CloudApi } from '../prefect/cloud.js'
import type { ServerTimes } from '../prefect/server-time.js'
import { shownName } from '../profiles/bundled.js'
import type { Served } from '../serve/credentials.js'
import type { ServingCredentials } from '../serve/serve.js'
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { quoteWord } from '../std/text.js'
import { type BackoffPolicy, backoffMs } from '../std/time.js'
import type { Vault } from '../vault/vault.js'
import { planFor } from './due.js'
import { createKeyRenewer, type KeyRenewer } from './renewer.js'
import { createServiceAccountAdmin, type ServiceAccountAdmin } from './service-accounts.js'
import { type RenewalView, viewRenewal } from './view.js'

type RenewalOutcome =
  | { readonly kind: 'renewed'; readonly key: KeyFacts }
  /** `at`: when it is due, epoch ms; absent if it will not be renewed. */
  | { readonly kind: 'not_due'; readonly key: KeyFacts; readonly at?: number }

export interface RenewalAdmin {
  /**
   * Renews the profile's key, with `ifDue` only if that is due, and waits for the outcome. Rejects with `login_required`,
   * `key_rejected`, `key_minting_refused`, or as `CloudApi` and `Vault` do; the old key is served on then.
   */
  renew(profile: string | undefined, options: { readonly ifDue: boolean }): Promise<RenewalOutcome>
  /** Undefined if we hold no key for the profile. */
  view(profile: string): RenewalView | undefined
}

export interface Renewal extends KeyRenewer {
  readonly admin: RenewalAdmin
  readonly serviceAccounts: ServiceAccountAdmin
  /** Renews if it is due. Never rejects. */
  renewIfDue(profile: string): Promise<void>
  /** Settles what is left in the journal: half-done changes at once, lost keys once an hour. */
  recover(): Promise<void>
}

const CLEAR_EVERY_MS = HOUR_MS
/** What cannot be finished yet is tried again after this, doubled each time. */
const URGENT_AGAIN: BackoffPolicy = { firstMs: 10 * SECOND_MS, maxMs: 10 * MINUTE_MS }

type RenewerParts = Parameters<typeof createKeyRenewer>[0]

/** What the renewer needs, and what service accounts need besides. */
interface RenewalParts extends RenewerParts {
  readonly credentials: ServingCredentials
  readonly cloud: CloudApi & AccountApi
  readonly vault: Pick<Vault, 'prove'>
  readonly newId: () => string
  readonly changes: Pick<Changes, 'run'>
}

export function createRenewal({ vault, newId, changes, ...parts }: RenewalParts): Renewal {
  const { keeper, credentials, cloud, turns, rotator, journal, events, times, clock, log } = parts
  const renewer = createKeyRenewer(parts)
  const serviceAccounts = createServiceAccountAdmin({
    ...{ credentials, keeper, vault, cloud, turns, changes, journal, events, times, newId, log },
  })
  let clearedAt = Number.NEGATIVE_INFINITY
  let wasSure = false
  let urgentAt = Number.NEGATIVE_INFINITY
  let urgentTries = 0
  const isUrgent = () =>
    Object.values(journal.read().entries).some((entry) => entry.kind === 'rotation' && isHalfDone(entry))
  return {
    ...renewer,
    admin: createRenewalAdmin({ keeper, credentials, renewer, times }),
    serviceAccounts,
    async renewIfDue(profile) {
      try {
        await renewer.renew(profile, { isForced: false })
      } catch (error) {
        log.warn({ profile, error }, 'key refused by Prefect not renewed')
      }
    },
    async recover() {
      await serviceAccounts.recover()
      // Expired keys are cleared away only when the time is known, which it is not at the start.
      const isCleared = clock.monotonic() - clearedAt < CLEAR_EVERY_MS && (wasSure || !times.isAnyFresh())
      if (!(isUrgent() && clock.monotonic() >= urgentAt) && isCleared) return
      clearedAt = clock.monotonic()
      wasSure = times.isAnyFresh()
      await rotator.recover()
      urgentTries = isUrgent() ? urgentTries + 1 : 0
      urgentAt = clock.monotonic() + backoffMs(Math.max(1, urgentTries), URGENT_AGAIN, () => 1)
    },
  }
}

function createRenewalAdmin({
  keeper,
  credentials,
  renewer,
  times,
}: {
  readonly keeper: KeyKeeper
  readonly credentials: ServingCredentials
  readonly renewer: KeyRenewer
  readonly times: ServerTimes
}): RenewalAdmin {
  return {
    async renew(asked, { ifDue }) {
      await credentials.refresh()
      const { resolved } = credentials.state(asked)
      const name = resolved.aliasOf ?? resolved.name
      // A rejected key is asked about once more: Prefect may take it again.
      if (keeper.current(name)?.rejectedAt !== undefined) {
        await renewer.renew(name, { isForced: false })
        await credentials.settle()
      }
      const served = credentials.serve(name)
      const { profile } = served
      const record = requireOurs(keeper, served)
      const plan = planFor(keeper.ledger(), profile, record)
      // On request, a key of unknown expiry is replaced like any other.
      const isHopeless = plan.kind === 'not_renewable' && (ifDue || record.origin === 'service_account')
      if (isHopeless) {
        throw new BrokerError(
          'key_minting_refused',
          `the key of profile ${shownName(profile)} is not renewed: ${plan.why}`,
          { hint: plan.hint },
        )
      }
      const kind = await renewer.renew(profile, { isForced: !ifDue })
      const { key } = credentials.state(profile)
      if (key === undefined) throw noKey(profile)
      return kind === 'renewed' ? { kind, key } : { kind, key, ...defined({ at: key.renewsAt }) }
    },
    view(profile) {
      const { cloudApiUrl = '' } = keeper.current(profile) ?? {}
      const own = keeper.index().ownKeys(profile)
      return viewRenewal(keeper.ledger(), profile, own, times.of(cloudApiUrl).clock.now())
    },
  }
}

/** The record of the key that is served. Throws `profile_not_cloud`, or `login_required` for a key in the file. */
function requireOurs(keeper: KeyKeeper, { profile, kind, item }: Served): KeyRecord {
  if (kind !== 'cloud') {
    throw new BrokerError('profile_not_cloud', `profile ${shownName(profile)} has no Prefect Cloud key`)
  }
  if (item === undefined) {
    throw new BrokerError(
      'login_required',
      `the key of profile ${shownName(profile)} is in profiles.toml, and only keys in the vault are renewed`,
      { hint: `prefect-auth adopt --profile ${quoteWord(profile)}` },
    )
  }
  const record = keeper.ledger().keys[item]
  if (record === undefined) throw noKey(profile)
  return record
}

function noKey(profile: string): BrokerError {
  return new BrokerError('login_required', `profile ${shownName(profile)} has no stored key`)
}
