/** Renewal on request, and what is told about it. */

import { BrokerError } from '../base/errors.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyRecord } from '../keys/ledger.js'
import { shownName } from '../profiles/bundled.js'
import { keyFacts } from '../serve/answer.js'
import type { Credentials, Served } from '../serve/credentials.js'
import { quoteWord } from '../std/text.js'
import { planFor, renewalMoment } from './due.js'
import type { RenewalAdmin } from './renewal-part.js'
import type { KeyRenewer } from './renewer.js'
import { viewRenewal } from './view.js'

export interface AdministerRenewalDeps {
  readonly credentials: Credentials
  readonly keeper: KeyKeeper
  readonly renewer: KeyRenewer
  /** Epoch ms, set right by Prefect's. */
  readonly now: () => number
}

export function createRenewalAdmin({
  credentials,
  keeper,
  renewer,
  now,
}: AdministerRenewalDeps): RenewalAdmin {
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
      return { kind: 'not_due', key, ...(key.renewsAt === undefined ? {} : { at: key.renewsAt }) }
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
