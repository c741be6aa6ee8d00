/** The states a login can be in, and what happens to it. Types and what every part asks of a state; the rules are `login.ts`. */
import type { BrokerError } from '../base/errors.js'
import type { Owner, Workspace } from '../prefect/cloud.js'
import type { Clock } from '../std/clock.js'
import type { Secret } from '../std/secret.js'
import type { LoginOutcome, LoginRequest } from './login.js'
import type { OwnerRule, WorkspaceWish } from './rules.js'

/**
 * One moment on both clocks. A wall clock set back would make a deadline wait for ever, and a monotonic clock that
 * stops in a sleeping laptop would let a login live through the night: a deadline is over when either says so.
 */
export interface Moment {
  /** Epoch ms. */
  readonly wall: number
  readonly mono: number
}

export function momentOf(clock: Clock): Moment {
  return { wall: clock.now(), mono: clock.monotonic() }
}

/** `ms` after `moment`, on both clocks. */
export function later(moment: Moment, ms: number): Moment {
  return { wall: moment.wall + ms, mono: moment.mono + ms }
}

/** What is left until `deadline`, in whole milliseconds, by the clock that is nearer to it; zero when it is over. */
export function msUntil(deadline: Moment, now: Moment): number {
  return Math.max(0, Math.ceil(Math.min(deadline.wall - now.wall, deadline.mono - now.mono)))
}

/** What does not change while a login lives. */
export interface LoginRules {
  readonly profile: string
  readonly owner: OwnerRule
  readonly workspace: WorkspaceWish
  /** How long a login waits for a key, in milliseconds. */
  readonly timeoutMs: number
  /** How long it then waits for a yes, in milliseconds. */
  readonly confirmMs: number
}

/** A key that Prefect accepted, with whose it is. */
export interface VerifiedClaim {
  readonly key: Secret
  readonly via: 'browser' | 'pasted'
  /** Whether the person asked for the exchange of a pasted key. A browser's key is always exchanged. */
  readonly exchange: boolean
  readonly owner: Owner
  /** No one need be asked whether this is the right owner. */
  readonly isOwnerKnown: boolean
  readonly workspaces: readonly Workspace[]
  /** What is taken when the answer names no other. */
  readonly workspace?: Workspace
}

interface Common {
  readonly rules: LoginRules
  /** Keys from the browser that were looked at. */
  readonly checks: number
  /** Requests and keys that were no delivery. */
  readonly refused: number
  /** The last thing a person should know. */
  readonly notice?: string
}

type WaitingLogin = Common & { readonly kind: 'waiting'; readonly deadline: Moment }

export type ReceivedLogin = Common & {
  readonly kind: 'received'
  readonly key: Secret
  /** How often Prefect was asked about this key, this time included. */
  readonly attempt: number
  /** Waiting time that is left should the key be junk, in milliseconds. */
  readonly leftMs: number
  readonly deadline: Moment
}

type VerifiedLogin = Common & {
  readonly kind: 'verified'
  readonly claim: VerifiedClaim
  readonly deadline: Moment
}

export type LoginState =
  | WaitingLogin
  | ReceivedLogin
  | VerifiedLogin
  | (Common & {
      readonly kind: 'confirmed'
      readonly claim: VerifiedClaim
      readonly workspace: Workspace
    })
  | (Common & {
      readonly kind: 'stored'
      readonly owner: Owner
      readonly workspace: Workspace
      readonly outcome: LoginOutcome
    })
  | (Common & { readonly kind: 'failed' | 'expired'; readonly error: BrokerError })
  | (Common & { readonly kind: 'cancelled' })

/** A login whose callback listens: a key can still come. */
export type OpenLogin = WaitingLogin | ReceivedLogin | VerifiedLogin

export type LoginEvent =
  /** Nothing but time. */
  | { readonly kind: 'time' }
  /** A well-formed key came by the callback: a claim. */
  | { readonly kind: 'delivered'; readonly key: Secret }
  /** Something else came by the callback. */
  | { readonly kind: 'refused' }
  /** Prefect's page says that the login failed. */
  | { readonly kind: 'page_failed'; readonly reason: string }
  /** Prefect accepted the claim number `check`. */
  | {
      readonly kind: 'checked'
      readonly check: number
      readonly owner: Owner
      readonly workspaces: readonly Workspace[]
    }
  | { readonly kind: 'check_failed'; readonly check: number; readonly error: BrokerError }
  /** A key that a person typed or piped in, after Prefect accepted it. */
  | {
      readonly kind: 'typed'
      readonly key: Secret
      readonly exchange: boolean
      readonly owner: Owner
      readonly workspaces: readonly Workspace[]
    }
  | { readonly kind: 'answered'; readonly accept: boolean; readonly workspace?: string }
  | { readonly kind: 'joined'; readonly request: LoginRequest }
  | { readonly kind: 'kept'; readonly outcome: LoginOutcome }
  | { readonly kind: 'not_kept'; readonly error: BrokerError }
  | { readonly kind: 'cancelled' }

export type LoginEffect =
  /** Ask Prefect about this key, `afterMs` from now. */
  | { readonly kind: 'check'; readonly check: number; readonly key: Secret; readonly afterMs: number }
  | { readonly kind: 'keep'; readonly claim: VerifiedClaim; readonly workspace: Workspace }

/** One step: the state after it, what to do, and why the event was not taken where it was not. */
export interface LoginStep {
  readonly state: LoginState
  readonly effects: readonly LoginEffect[]
  readonly refusal?: BrokerError
}

/** Whether a key can still come: the callback listens just as long. */
export function isOpen(state: LoginState): state is OpenLogin {
  return state.kind === 'waiting' || state.kind === 'received' || state.kind === 'verified'
}

/** Whether the login is over; `confirmed` is neither open nor over: its key is being stored. */
export function isOver(state: LoginState): boolean {
  return !isOpen(state) && state.kind !== 'confirmed'
}
