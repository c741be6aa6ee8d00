/** What a login that can not go on tells a person, and what helps. */

import { BrokerError } from '../base/errors.js'
import type { Owner } from '../prefect/cloud.js'
import { defined } from '../std/defined.js'
import { cleanText, loginCommand } from '../std/text.js'
import { formatDuration } from '../std/time.js'
import type { LoginView } from './login.js'
import { isOpen, type LoginState, type OpenLogin } from './state.js'

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

interface LoginLabel {
  readonly id: string
  readonly profile: string
  readonly version: number
  readonly url: string
  /** Epoch ms: the last deadline there was. */
  readonly expiresAt: number
}

export function viewLogin(
  { id, profile, version, url, expiresAt }: LoginLabel,
  state: LoginState,
): LoginView {
  const { refused, notice } = state
  return {
    id,
    profile,
    state: state.kind,
    version,
    ...(isOpen(state) ? { url } : {}),
    expiresAt,
    refused,
    ...defined({ notice }),
    ...details(state),
  }
}

function details(state: LoginState): Partial<LoginView> {
  switch (state.kind) {
    case 'waiting':
    case 'received':
    case 'cancelled':
      return {}
    case 'verified': {
      const { owner, isOwnerKnown, workspaces, workspace } = state.claim
      return { owner: shown(owner), isOwnerKnown, workspaces, ...(workspace ? { workspace } : {}) }
    }
    case 'confirmed': {
      const { owner, isOwnerKnown } = state.claim
      return { owner: shown(owner), isOwnerKnown, workspace: state.workspace }
    }
    case 'stored': {
      const { key, exchange } = state.outcome
      const { owner, workspace } = state
      return { owner: shown(owner), workspace, key, ...(exchange ? { exchange } : {}) }
    }
    case 'failed':
    case 'expired':
      return { error: state.error }
  }
}

/** An account may have any name: what is read before saying yes must not hide or reorder anything. */
function shown(owner: Owner): Owner {
  const handle = cleanText(owner.handle)
  if (owner.kind === 'service_account' || owner.email === undefined) return { ...owner, handle }
  return { ...owner, handle, email: cleanText(owner.email) }
}
