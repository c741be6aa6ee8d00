/** What a person is told on the desktop: a key that comes to its end, and a login that is needed. Once each. */

import type { BrokerEvent, Events } from '../base/events.js'
import { loginCommand } from '../std/text.js'

export interface Notice {
  readonly title: string
  readonly body: string
}

/** Listens until the answer is called, which resolves when the last notice is out. `notify` never rejects. */
export function notifyPeople({
  events,
  notify,
}: {
  readonly events: Events
  readonly notify: (notice: Notice) => Promise<void>
}): () => Promise<void> {
  const underWay = new Set<Promise<void>>()
  const hush = events.onEvent((event) => {
    const notice = noticeOf(event)
    if (notice === undefined) return
    const sent: Promise<void> = notify(notice).then(() => void underWay.delete(sent))
    underWay.add(sent)
  })
  return async () => {
    hush()
    await Promise.all(underWay)
  }
}

/** `undefined` for what is no person's business. */
function noticeOf({ type, profile = '', facts }: BrokerEvent): Notice | undefined {
  switch (type) {
    case 'renewal.warning':
      return {
        title: titleOf(Number(facts.days)),
        body: `${String(facts.message)}\nNow: ${String(facts.hint)}`,
      }
    case 'key.rejected':
      return {
        title: 'Prefect: login required',
        body: `Prefect no longer accepts the key of profile '${profile}'.\nNow: ${loginCommand(profile)}`,
      }
    default:
      return undefined
  }
}

function titleOf(days: number): string {
  if (days === 0) return 'Prefect: an API key has expired'
  return `Prefect: an API key expires within ${days === 1 ? 'a day' : `${days} days`}`
}
