/** Pure: what callers see of a login. Never the key. */

import type { Owner } from '../prefect/cloud.js'
import { cleanText } from '../std/text.js'
import type { LoginView } from './login.js'
import { isOpen, type LoginState } from './state.js'

export interface LoginLabel {
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
    ...(notice === undefined ? {} : { notice }),
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
