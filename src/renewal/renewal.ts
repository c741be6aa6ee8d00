/** Renewal on request, and what is told about it. */

import { BrokerError } from '../base/errors.js'
import { isHalfDone } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyRecord } from '../keys/ledger.js'
import { keyFacts } from '../keys/ledger.js'
import type { ServiceAccountsApi } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import type { Credentials, Served } from '../serve/credentials.js'
import type { ServingCredentials } from '../serve/serve.js'
import { defined } from '../std/defined.js'
import { quoteWord } from '../std/text.js'
import type { Vault } from '../vault/vault.js'
import { planFor, renewalMoment } from './due.js'
import { createKeyRenewer, type KeyRenewer, type RenewKeysDeps } from './renewer.js'
import { createServiceAccountAdmin } from './service-accounts.js'
import { type RenewalAdmin, type ServiceAccountAdmin, viewRenewal } from './view.js'

interface AdministerRenewalDeps {
  readonly credentials: Credentials
  readonly keeper: KeyKeeper
  readonly renewer: KeyRenewer
  /** Epoch ms, set right by Prefect's. */
  readonly now: () => number
}

function createRenewalAdmin({ credentials, keeper, renewer, now }: AdministerRenewalDeps): RenewalAdmin {
  const recordOf = (profile: string): KeyRecord => {
    const { currentItem } = keeper.profile(profile)
    const record = currentItem === undefined ? undefined : keeper.ledger().keys[currentItem]
    if (record !== undefined) return record
    throw new BrokerError('login_required', `profile ${shownName(profile)} has no key of ours`)
  }
  return {
    async renew(asked, { ifDue }) {
      await credentials.refresh()
      const served = credentials.serve(asked)
      requireOurs(served)
      const { profile } = served
      const plan = planFor(keeper, recordOf(profile))
      // Forced, a key of unknown end is replaced like any other: that is what was asked for.
      const isHopeless = plan.kind === 'not_renewable' && (ifDue || served.key?.origin === 'service_account')
      if (isHopeless) {
        throw new BrokerError(
          'key_minting_refused',
          `the key of profile ${shownName(profile)} is not renewed: ${plan.why}`,
          { hint: plan.hint },
        )
      }
      const outcome = await renewer.renew(profile, { isForced: !ifDue })
      const record = recordOf(profile)
      const key = keyFacts(record, renewalMoment(keeper, record.item))
      if (outcome === 'renewed') return { kind: 'renewed', key }
      return { kind: 'not_due', key, ...defined({ at: key.renewsAt }) }
    },
    view: (profile) => viewRenewal(keeper, profile, now()),
  }
}

function requireOurs({ profile, kind, item }: Served): void {
  if (kind !== 'cloud') {
    throw new BrokerError('profile_not_cloud', `profile ${shownName(profile)} has no Prefect Cloud key`)
  }
  if (item !== undefined) return
  throw new BrokerError(
    'login_required',
    `the key of profile ${shownName(profile)} stands in profiles.toml and is not ours to renew`,
    { hint: `prefect-auth adopt --profile ${quoteWord(profile)}` },
  )
}

interface RenewalDeps extends RenewKeysDeps {
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
