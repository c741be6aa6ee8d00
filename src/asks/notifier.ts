/** Shows open questions on the desktop; a button pressed there is the answer. */
import type { Audit } from '../audit/audit.js'
import type { Events } from '../base/events.js'
import type { Notice } from '../status/notify.js'
import { type Clock, SECOND_MS, type Timer } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { Asks } from './asks.js'
import type { AskDesktop } from './desktop.js'

/** A token may have many questions open, and replace them quickly: nobody reads more than this. */
const MOST = 5
const EVERY_MS = SECOND_MS

interface NotifierParts {
  readonly events: Pick<Events, 'onEvent'>
  readonly asks: Pick<Asks, 'find' | 'answer'>
  readonly askDesktop: AskDesktop
  /** Where nothing with buttons can be shown. Must never reject. */
  readonly notify: (notice: Notice) => Promise<void>
  readonly audit: Pick<Audit, 'record'>
  readonly clock: Clock
  readonly log: Log
}

/**
 * Until the returned function is called, which takes away what is shown and resolves when it is gone. At most five questions
 * are shown at a time, and one a second; the others wait.
 */
export function showQuestions(parts: NotifierParts): () => Promise<void> {
  const { events, clock } = parts
  const open = new Map<number, AbortController>()
  const waiting: number[] = []
  const shown = new Set<Promise<void>>()
  let timer: Timer | undefined

  function showNext(): void {
    if (timer !== undefined || shown.size >= MOST) return
    const id = waiting.find((one) => open.has(one))
    const closed = id === undefined ? undefined : open.get(id)
    if (id === undefined || closed === undefined) return
    waiting.splice(0, waiting.indexOf(id) + 1)
    timer = clock.after(EVERY_MS, () => {
      timer = undefined
      showNext()
    })
    const one: Promise<void> = show(parts, id, closed.signal).finally(() => {
      shown.delete(one)
      showNext()
    })
    shown.add(one)
  }

  const stop = events.onEvent(({ type, facts }) => {
    const id = Number(facts.id)
    if (type === 'ask.opened') {
      open.set(id, new AbortController())
      waiting.push(id)
      showNext()
    } else if (type === 'ask.closed') {
      open.get(id)?.abort()
      open.delete(id)
    }
  })
  return async () => {
    stop()
    waiting.length = 0
    timer?.cancel()
    for (const closed of open.values()) closed.abort()
    await Promise.all(shown)
  }
}

/** Never rejects. */
async function show(parts: NotifierParts, id: number, closed: AbortSignal): Promise<void> {
  const { asks, audit, log } = parts
  try {
    const { token, sentence, who, digest, profile } = await asks.find(id)
    const question = { id, sentence, token: token.name, ...defined({ program: who[0] }) }
    const pressed = await parts.askDesktop(question, closed)
    if (pressed === 'unshown') {
      const body = `${sentence}\nNow: prefect-auth asks yes ${id}`
      return await parts.notify({ title: 'Prefect: a job asks', body })
    }
    if (pressed === undefined) return
    await asks.answer(id, pressed === 'yes' ? 'once' : 'no', { kind: 'person' }, { digest })
    const action = pressed === 'yes' ? 'ask_accepted' : 'ask_refused'
    const about = { aboutId: token.id, aboutName: token.name }
    audit.record({
      action,
      outcome: 'done',
      door: 'daemon',
      profile,
      agent: 'desktop notification',
      ...about,
    })
  } catch (error) {
    // Nobody waits any more.
    log.debug({ id, error }, 'question on the desktop not answered')
  }
}
