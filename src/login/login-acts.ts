/** Does what the rules of a login ask for: asks Prefect about a key, has a key stored. Answers with events. */

import { BrokerError } from '../base/errors.js'
import type { CloudApi } from '../prefect/cloud.js'
import { verifyKey } from '../prefect/cloud.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import type { KeepDelivery, LoginTarget } from './login-delivery.js'
import type { LoginEffect, LoginEvent } from './state.js'

export interface LoginActsDeps {
  readonly clock: Clock
  readonly cloud: CloudApi
  readonly keep: KeepDelivery
  readonly target: LoginTarget
  readonly log: Log
  readonly report: (event: LoginEvent) => void
  /** Whether an answer about a key is still wanted. */
  readonly isWanted: () => boolean
}

export interface LoginActs {
  perform(effect: LoginEffect): void
  /** Resolves when no key is being stored. */
  settled(): Promise<void>
}

export function createLoginActs({
  clock,
  cloud,
  keep,
  target,
  log,
  report,
  isWanted,
}: LoginActsDeps): LoginActs {
  const { profile, cloudApiUrl, isToBeActive } = target
  let keeping: Promise<void> = Promise.resolve()

  async function check(number: number, key: Secret): Promise<void> {
    if (!isWanted()) return
    try {
      report({ kind: 'checked', check: number, ...(await verifyKey(cloud, { cloudApiUrl, key })) })
    } catch (error) {
      report({ kind: 'check_failed', check: number, error: asBrokerError(error, 'checking the key', log) })
    }
  }

  async function store(effect: Extract<LoginEffect, { readonly kind: 'keep' }>): Promise<void> {
    const { key, via, exchange, owner, workspaces } = effect.claim
    const { workspace } = effect
    try {
      const outcome = await keep({
        profile,
        cloudApiUrl,
        key,
        via,
        owner,
        workspaces,
        workspace,
        exchange,
        ...(isToBeActive === undefined ? {} : { isToBeActive }),
      })
      report({ kind: 'kept', outcome })
    } catch (error) {
      report({ kind: 'not_kept', error: asBrokerError(error, 'storing the key', log) })
    }
  }

  return {
    perform(effect) {
      if (effect.kind === 'keep') keeping = store(effect)
      else if (effect.afterMs === 0) void check(effect.check, effect.key)
      else clock.after(effect.afterMs, () => void check(effect.check, effect.key))
    },
    settled: () => keeping,
  }
}

/** Anything but our own errors is a bug of ours: logged whole, told as what it is. */
function asBrokerError(error: unknown, what: string, log: Log): BrokerError {
  if (error instanceof BrokerError) return error
  log.error({ error }, 'a login met an unexpected error')
  return new BrokerError('internal', `${what} failed unexpectedly`, { cause: error })
}
