/** Holds one login's state and time: takes events, hands out effects, tells whoever waits for a change. */

import type { BrokerError } from '../base/errors.js'
import type { Clock, Timer } from '../std/clock.js'
import { type Moment, momentOf, msUntil } from './login-moment.js'
import {
  isOpen,
  isOver,
  type LoginEffect,
  type LoginEvent,
  type LoginRules,
  type LoginState,
} from './state.js'
import { startLogin, stepLogin } from './step.js'

export interface LoginRunnerDeps {
  readonly clock: Clock
  readonly rules: LoginRules
  /** Does what a step asks for; later events tell how it went. */
  readonly perform: (effect: LoginEffect) => void
  /** Called after every change, before those who wait. */
  readonly onEnter: (before: LoginState, next: LoginState) => void
}

export interface LoginRunner {
  state(): LoginState
  /** Grows with every change. */
  version(): number
  /** Epoch ms: the last deadline there was. */
  expiresAt(): number
  endedAt(): Moment | undefined
  /** Takes the event, or answers why not. */
  apply(event: LoginEvent): BrokerError | undefined
  /** Calls back at every change; returns how to stop that. */
  onChange(listener: () => void): () => void
}

/** Timers stand still while a laptop sleeps: look at the clocks often, and at every event. */
const LOOK_MS = 5_000

export function createLoginRunner({ clock, rules, perform, onEnter }: LoginRunnerDeps): LoginRunner {
  const listeners = new Set<() => void>()
  let state: LoginState = startLogin(rules, momentOf(clock))
  let version = 1
  let expiresAt = clock.now() + rules.timeoutMs
  let endedAt: Moment | undefined
  let timer: Timer | undefined

  function apply(event: LoginEvent): BrokerError | undefined {
    const before = state
    const { state: next, effects, refusal } = stepLogin(before, event, momentOf(clock))
    if (next !== before) enter(before, next)
    for (const effect of effects) perform(effect)
    return refusal
  }

  function enter(before: LoginState, next: LoginState): void {
    state = next
    version += 1
    if (isOpen(next)) expiresAt = next.deadline.wall
    if (isOver(next)) endedAt ??= momentOf(clock)
    look()
    onEnter(before, next)
    for (const listener of [...listeners]) listener()
  }

  function look(): void {
    timer?.cancel()
    if (!isOpen(state)) return
    const ms = Math.min(msUntil(state.deadline, momentOf(clock)), LOOK_MS)
    timer = clock.after(ms, () => {
      apply({ kind: 'time' })
      look()
    })
  }

  look()
  return {
    state: () => state,
    version: () => version,
    expiresAt: () => expiresAt,
    endedAt: () => endedAt,
    apply,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
