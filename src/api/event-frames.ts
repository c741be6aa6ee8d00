/** Events as Server-Sent Events bytes: what a watcher gets at first, and each event as its caller may see it. */

import type { BrokerEvent, Events } from '../base/events.js'
import { type Caller, reachesProfile } from '../tokens/access.js'
import type { Event } from '../wire/events.js'
import { renderTime } from './render.js'
import { seesAll } from './scope.js'

/** What a watcher gets at once: what it missed, or that it missed something, and from where to resume. */
export function openingFrames(events: Events, lastEventId: unknown, caller: Caller): string {
  const parts = ['retry: 2000\n\n']
  const resumed = typeof lastEventId === 'string' && lastEventId !== ''
  const { events: past, isComplete } = events.since(resumed ? sequenceOf(events.epoch, lastEventId) : 0)
  if (!resumed) {
    // An id without data is no event, only the place to resume from.
    parts.push(`id: ${events.epoch}-${past.at(-1)?.seq ?? 0}\n\n`)
    return parts.join('')
  }
  if (!isComplete || !lastEventId.startsWith(`${events.epoch}-`)) parts.push(gapFrame(events.epoch, past))
  for (const event of past) parts.push(createFrames(events.epoch, event).for(caller)?.toString() ?? '')
  return parts.join('')
}

/** Another run of the daemon counted differently: then everything that is left is news. */
function sequenceOf(epoch: string, lastEventId: string): number {
  const [, number] = /-(\d{1,15})$/.exec(lastEventId) ?? []
  return number !== undefined && lastEventId === `${epoch}-${number}` ? Number(number) : 0
}

function gapFrame(epoch: string, past: readonly BrokerEvent[]): string {
  const [next] = past
  const id = `${epoch}-${(next?.seq ?? 1) - 1}`
  const at = renderTime(next?.at ?? 0)
  return frameOf({ id, at, type: 'events.gap', facts: {} })
}

export interface Frames {
  /** The bytes for this caller; `undefined`: not for its eyes. */
  for(caller: Caller): Buffer | undefined
}

/** An event is rendered once for all who see it whole, and once for those who see less. */
export function createFrames(epoch: string, event: BrokerEvent): Frames {
  let whole: Buffer | undefined
  let reduced: Buffer | undefined
  return {
    for(caller) {
      if (seesAll(caller) || (event.profile !== undefined && reachesProfile(caller, event.profile))) {
        whole ??= Buffer.from(frameOf(renderEvent(epoch, event)))
        return whole
      }
      if (event.profile !== undefined) return undefined
      // Facts about the whole daemon may name other profiles.
      reduced ??= Buffer.from(frameOf(renderEvent(epoch, { ...event, facts: {} })))
      return reduced
    },
  }
}

function renderEvent(epoch: string, { seq, at, type, profile, facts }: BrokerEvent): Event {
  const plain = Object.entries(facts).map(([name, value]): [string, Event['facts'][string]] => [
    name,
    typeof value === 'object' ? [...value] : value,
  ])
  return {
    id: `${epoch}-${seq}`,
    at: renderTime(at),
    type,
    ...(profile === undefined ? {} : { profile }),
    facts: Object.fromEntries(plain),
  }
}

/** JSON has no raw line breaks, so one `data:` line holds it. */
function frameOf(event: Event): string {
  return `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}
