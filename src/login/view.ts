/** A login as callers see it. */

import type { Owner } from '../prefect/cloud.js'
import { defined } from '../std/defined.js'
import { cleanText } from '../std/text.js'
import type { LoginView } from './login.js'
import { isOpen, type LoginState } from './state.js'

interface LoginLabel {
  readonly id: string
  readonly profile: string
  readonly version: number
  readonly url: string
  /** Epoch ms: the most recent deadline. */
  readonly expiresAt: number
}

/** Pure: the login as callers see it, without its key. */
export function viewLogin({ url, ...label }: LoginLabel, state: LoginState): LoginView {
  const { kind, refused: refusedBy, notice } = state
  const shownUrl = isOpen(state) ? url : undefined
  const refused = Object.values(refusedBy).reduce((sum, count) => sum + count, 0)
  return {
    ...label,
    state: kind,
    refused,
    refusedBy,
    ...defined({ url: shownUrl, notice }),
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
      return { owner: shown(owner), isOwnerKnown, workspaces, ...defined({ workspace }) }
    }
    case 'confirmed': {
      const { owner, isOwnerKnown } = state.claim
      return { owner: shown(owner), isOwnerKnown, workspace: state.workspace }
    }
    case 'stored': {
      const { owner, workspace, outcome } = state
      return { owner: shown(owner), workspace, ...outcome }
    }
    case 'failed':
    case 'expired':
      return { error: state.error }
  }
}

/** An account can have any name: what a user reads before confirming must not hide or reorder anything. */
function shown(owner: Owner): Owner {
  const handle = cleanText(owner.handle)
  if (owner.kind === 'service_account' || owner.email === undefined) return { ...owner, handle }
  return { ...owner, handle, email: cleanText(owner.email) }
}
