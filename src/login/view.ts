/** What a login that can not go on tells a person, and what helps. */

import { BrokerError } from '../base/errors.js'
import { loginCommand } from '../std/text.js'
import { formatDuration } from '../std/time.js'
import type { LoginState, OpenLogin } from './state.js'

/** `login_expired`, by what it was waiting for. */
export function expiredError({ kind, rules, notice }: OpenLogin): BrokerError {
  const login = `logging in profile '${rules.profile}'`
  const last = notice === undefined ? '' : ` (${notice})`
  if (kind === 'waiting') {
    return new BrokerError(
      'login_expired',
      `${login}: no key came within ${formatDuration(rules.timeoutMs)}${last}`,
      {
        hint: `${loginCommand(rules.profile)}; if the browser asks whether it may access other apps on this device, allow it, or paste a key`,
      },
    )
  }
  const missing = kind === 'received' ? 'Prefect did not tell whose key it is' : 'nobody confirmed the owner'
  return new BrokerError(
    'login_expired',
    `${login}: a key came, but ${missing} within ${formatDuration(rules.confirmMs)}${last}`,
    { hint: loginCommand(rules.profile) },
  )
}

/** Prefect's page reported a failure; `reason` must be clean. */
export function failedByPage(profile: string, reason: string): BrokerError {
  const why = reason === '' ? 'without a reason' : `'${reason}'`
  return new BrokerError(
    'login_required',
    `logging in profile '${profile}': Prefect's page gave up: ${why}`,
    {
      hint: loginCommand(profile),
    },
  )
}

/** `login_state`, or the login's own end: why it takes no key, no answer or no cancellation now. */
export function notNow(state: LoginState): BrokerError {
  switch (state.kind) {
    case 'failed':
    case 'expired':
      return state.error
    case 'waiting':
      return loginState(state, 'no key has come yet')
    case 'received':
      return loginState(state, 'a key is being checked')
    case 'verified':
      return loginState(state, 'a key waits for a yes or a no')
    case 'confirmed':
      return loginState(state, 'its key is being stored')
    case 'stored':
      return loginState(state, 'it is done')
    case 'cancelled':
      return loginState(state, 'it was cancelled')
  }
}

function loginState({ rules }: LoginState, why: string): BrokerError {
  return new BrokerError(
    'login_state',
    `the login of profile '${rules.profile}' can not take this now: ${why}`,
    {
      hint: loginCommand(rules.profile),
    },
  )
}
