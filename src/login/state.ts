/** The states, events and effects of a login, and the errors that say why a login cannot go on. */

import { BrokerError } from '../base/errors.js'
import type { Owner, Workspace } from '../prefect/cloud.js'
import type { Clock } from '../std/clock.js'
import type { Secret } from '../std/secret.js'
import { loginCommand } from '../std/text.js'
import { formatDuration } from '../std/time.js'
import type { LoginOutcome, LoginRequest } from './login.js'
import type { OwnerRule, WorkspaceWish } from './rules.js'

/**
 * One moment on both clocks. With the wall clock alone, setting it back would postpone a deadline indefinitely; with the
 * monotonic clock alone, which stops while a laptop sleeps, a login would survive the night. A deadline has passed as soon
 * as either clock says so.
 */
export interface Moment {
  /** Epoch ms. */
  readonly wall: number
  readonly mono: number
}

/** Counts by reason: `origin`, `host`, `key`, … */
export type Refusals = Readonly<Record<string, number>>

export function momentOf(clock: Clock): Moment {
  return { wall: clock.now(), mono: clock.monotonic() }
}

/** `ms` after `moment`, on both clocks. */
export function later(moment: Moment, ms: number): Moment {
  return { wall: moment.wall + ms, mono: moment.mono + ms }
}

/** Whole milliseconds until `deadline`, by the clock that is closer to it; zero once it has passed. */
export function msUntil(deadline: Moment, now: Moment): number {
  return Math.max(0, Math.ceil(Math.min(deadline.wall - now.wall, deadline.mono - now.mono)))
}

/** What does not change during a login. */
export interface LoginRules {
  readonly profile: string
  readonly owner: OwnerRule
  readonly workspace: WorkspaceWish
  /** How long a login waits for a key, in milliseconds. */
  readonly timeoutMs: number
  /** How long it then waits for a confirmation, in milliseconds. */
  readonly confirmMs: number
}

/** A key that Prefect accepted, and its owner. */
export interface VerifiedClaim {
  readonly key: Secret
  readonly via: 'browser' | 'pasted'
  /** Whether the user asked to exchange a pasted key. A key from the browser is always exchanged. */
  readonly exchange: boolean
  readonly owner: Owner
  /** True if nobody needs to confirm the owner. */
  readonly isOwnerKnown: boolean
  readonly workspaces: readonly Workspace[]
  /** Used unless the answer names another one. */
  readonly workspace?: Workspace
}

interface Common {
  readonly rules: LoginRules
  /** How many keys from the browser have been checked. */
  readonly checks: number
  /** How many requests and keys were refused, by our word for the reason. */
  readonly refused: Refusals
  /** The last message for the user. */
  readonly notice?: string
}

export type WaitingLogin = Common & { readonly kind: 'waiting'; readonly deadline: Moment }

export type ReceivedLogin = Common & {
  readonly kind: 'received'
  readonly key: Secret
  /** How often this key has been sent to Prefect, this time included. */
  readonly attempt: number
  /** How much waiting time remains if the key turns out to be junk, in milliseconds. */
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

/** A login that can still receive a key; its callback listens exactly as long. */
export type OpenLogin = WaitingLogin | ReceivedLogin | VerifiedLogin

export function isOpen(state: LoginState): state is OpenLogin {
  return state.kind === 'waiting' || state.kind === 'received' || state.kind === 'verified'
}

/** Whether the login has ended. `confirmed` is neither open nor over: its key is being stored. */
export function isOver(state: LoginState): boolean {
  return !isOpen(state) && state.kind !== 'confirmed'
}

export type LoginEvent =
  /** Only time has passed. */
  | { readonly kind: 'time' }
  /** The callback received a well-formed key: a claim. */
  | { readonly kind: 'delivered'; readonly key: Secret }
  /** The callback refused a request. `why` is one of our own words. */
  | { readonly kind: 'refused'; readonly why: string }
  /** A key that arrived after the last login had ended, already accepted by Prefect: examined like any other. */
  | {
      readonly kind: 'late'
      readonly key: Secret
      readonly owner: Owner
      readonly workspaces: readonly Workspace[]
    }
  /** Prefect's page reported a failed login. */
  | { readonly kind: 'page_failed'; readonly reason: string }
  /** Prefect accepted claim number `check`. */
  | {
      readonly kind: 'checked'
      readonly check: number
      readonly owner: Owner
      readonly workspaces: readonly Workspace[]
    }
  | { readonly kind: 'check_failed'; readonly check: number; readonly error: BrokerError }
  /** A key that a person typed or piped in, already accepted by Prefect. */
  | {
      readonly kind: 'typed'
      readonly key: Secret
      readonly exchange: boolean
      /** It was in an address that a person copied from the browser: anybody may have put it there. */
      readonly isFromBrowser?: boolean
      readonly owner: Owner
      readonly workspaces: readonly Workspace[]
    }
  | { readonly kind: 'answered'; readonly accept: boolean; readonly workspace?: string }
  | { readonly kind: 'joined'; readonly request: LoginRequest }
  | { readonly kind: 'kept'; readonly outcome: LoginOutcome }
  | { readonly kind: 'not_kept'; readonly error: BrokerError }
  | { readonly kind: 'cancelled' }

export type LoginEffect =
  /** Check this key at Prefect, `afterMs` from now. */
  | { readonly kind: 'check'; readonly check: number; readonly key: Secret; readonly afterMs: number }
  | { readonly kind: 'keep'; readonly claim: VerifiedClaim; readonly workspace: Workspace }

/** The result of one step: the next state, what to do, and why the event was refused, if it was. */
export interface LoginStep {
  readonly state: LoginState
  readonly effects: readonly LoginEffect[]
  readonly refusal?: BrokerError
}

/** `login_expired`, saying what the login was waiting for. */
export function expiredError({ kind, rules, notice }: OpenLogin): BrokerError {
  const { profile, timeoutMs, confirmMs } = rules
  const command = loginCommand(profile)
  const expired = `the login of profile '${profile}' expired:`
  const last = notice === undefined ? '' : ` (${notice})`
  if (kind === 'waiting') {
    const hint = `${command}; if the browser asks whether it may access other apps on this device, allow it, or paste a key`
    const message = `${expired} no key was received within ${formatDuration(timeoutMs)}${last}`
    return new BrokerError('login_expired', message, { hint })
  }
  const missing = kind === 'received' ? 'Prefect did not verify it' : 'nobody confirmed its owner'
  const message = `${expired} a key was received, but ${missing} within ${formatDuration(confirmMs)}${last}`
  return new BrokerError('login_expired', message, { hint: command })
}

/** The error that ended the login, else `login_state`: why it accepts no key, answer or cancellation now. */
export function notNow(state: LoginState): BrokerError {
  if (state.kind === 'failed' || state.kind === 'expired') return state.error
  const { profile } = state.rules
  return new BrokerError(
    'login_state',
    `the login of profile '${profile}' does not accept this now: ${CONDITIONS[state.kind]}`,
    { hint: loginCommand(profile) },
  )
}

const CONDITIONS = {
  waiting: 'no key has been received yet',
  received: 'a key is being checked',
  verified: 'a key is waiting for confirmation',
  confirmed: 'its key is being stored',
  stored: 'it is already done',
  cancelled: 'it was cancelled',
} as const satisfies Partial<Record<LoginState['kind'], string>>
