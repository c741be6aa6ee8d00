/** Events for watchers: a ring of numbered events without secrets, and its listeners. */

import type { Clock } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'

const EVENT_TYPES = [
  'daemon.started',
  'daemon.stopping',
  'profiles.changed',
  'profiles.invalid',
  'profiles.overwritten',
  'profiles.plaintext_key',
  'credentials.changed',
  'login.started',
  'login.received',
  'login.verified',
  'login.confirmed',
  'login.stored',
  'login.failed',
  'login.cancelled',
  'login.expired',
  'login.late_key',
  'key.stored',
  'key.promoted',
  'key.retired',
  'key.doubted',
  'key.rejected',
  'key.accepted',
  'key.exchange_refused',
  'key.adopted',
  'key.deleted',
  'renewal.started',
  'renewal.done',
  'renewal.failed',
  'renewal.warning',
  'logout.done',
  'token.created',
  'token.revoked',
  'token.parked',
  'token.kept',
  'page.opened',
  'page.alarm',
  'ask.opened',
  'ask.closed',
  'vault.changed',
  'share.rotated',
  'share.foreign',
  'share.trouble',
  'state.degraded',
  'state.recovered',
] as const

export type EventType = (typeof EVENT_TYPES)[number]

/** Plain values without secrets: the type keeps Secret objects out. */
export type EventFacts = Readonly<Record<string, string | number | boolean | readonly string[]>>

export interface BrokerEvent {
  /** Grows by one. Restarts with the daemon, so on the wire `epoch` precedes it. */
  readonly seq: number
  /** Epoch ms. */
  readonly at: number
  readonly type: EventType
  readonly profile?: string
  readonly facts: EventFacts
}

export interface Events {
  emit(type: EventType, details?: { readonly profile?: string; readonly facts?: EventFacts }): void
  /** Events after `seq` that are still in the ring. `isComplete` is false if some have left it. */
  since(seq: number): { readonly events: readonly BrokerEvent[]; readonly isComplete: boolean }
  onEvent(listener: (event: BrokerEvent) => void): () => void
  /** Differs in every run of the daemon. */
  readonly epoch: string
}

const RING_SIZE = 1000

export function createEvents({
  clock,
  epoch,
  log,
}: {
  readonly clock: Clock
  readonly epoch: string
  readonly log?: Log
}): Events {
  const ring: BrokerEvent[] = []
  const listeners = new Set<(event: BrokerEvent) => void>()
  let seq = 0
  return {
    epoch,
    emit(type, { profile, facts = {} } = {}) {
      seq += 1
      const event = { seq, at: clock.now(), type, facts, ...defined({ profile }) }
      ring.push(event)
      if (ring.length > RING_SIZE) ring.shift()
      for (const listener of [...listeners]) {
        // A promoted key must not fail because a listener did.
        try {
          listener(event)
        } catch (error) {
          log?.error({ error, type }, 'event listener failed')
        }
      }
    },
    since(after) {
      const oldest = ring[0]?.seq ?? seq + 1
      return {
        events: ring.filter((event) => event.seq > after),
        isComplete: after >= oldest - 1 && after <= seq,
      }
    },
    onEvent(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
