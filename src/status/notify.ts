/** Notices for a person: a key that expires soon, a login that is needed, a page link that was used twice. */

import type { BrokerEvent, Events } from '../base/events.js'
import { loginCommand } from '../std/text.js'

export interface Notice {
  readonly title: string
  readonly body: string
}

/**
 * Sends a notice for each event that needs a person, until the returned function is called; that resolves once the last
 * notice has been sent. `notify` must never reject.
 */
export function notifyPeople({
  events,
  notify,
}: {
  readonly events: Events
  readonly notify: (notice: Notice) => Promise<void>
}): () => Promise<void> {
  const pending = new Set<Promise<void>>()
  const unsubscribe = events.onEvent((event) => {
    const notice = noticeOf(event)
    if (notice === undefined) return
    const sent: Promise<void> = notify(notice).then(() => void pending.delete(sent))
    pending.add(sent)
  })
  return async () => {
    unsubscribe()
    await Promise.all(pending)
  }
}

/** Returns `undefined` for an event that needs no person. */
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
    case 'page.alarm':
      return {
        title: 'prefect-auth: a page link was used twice',
        body: 'If you did not open it twice, another program has seen the link. The page was closed.\nNow: prefect-auth audit',
      }
    default:
      return undefined
  }
}

function titleOf(days: number): string {
  if (days === 0) return 'Prefect: an API key has expired'
  return `Prefect: an API key expires within ${days === 1 ? 'a day' : `${days} days`}`
}
