/** Server-Sent Events: the parser, and a subscription that survives a restart of the daemon. */
import { SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { failureOf, failWith, parseProblem } from './failure.js'
import type { Transport } from './transport.js'

interface StreamEvent {
  readonly id: string | undefined
  readonly data: string
}

/** Parses a stream of text into events as the HTML standard says, with LF or CRLF. Drops comments. */
export async function* parseEventStream(chunks: AsyncIterable<string>): AsyncGenerator<StreamEvent> {
  let rest = ''
  let id: string | undefined
  let data: string[] = []
  for await (const chunk of chunks) {
    const lines = (rest + chunk).split(/\r?\n/)
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) yield { id, data: data.join('\n') }
        data = []
        continue
      }
      const [, field, value] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? []
      if (field === 'data') data.push(value ?? '')
      if (field === 'id') id = value ?? ''
    }
  }
}

export interface Follow {
  readonly transport: Transport
  /** Waits before the next attempt; rejects when `signal` is aborted. */
  readonly pause: (ms: number) => Promise<void>
  /** Called once when the connection is lost, and once when it is back. */
  readonly onConnection: (state: 'lost' | 'back') => void
  readonly signal: AbortSignal
}

const RETRY_MS = SECOND_MS

/**
 * Yields the events after `lastId` until `signal` is aborted. A lost connection is opened again and continues after the
 * last event seen. Throws as `Transport` does if the first connection fails, and the daemon's refusal.
 */
export async function* followEvents(follow: Follow, lastId?: string): AsyncGenerator<StreamEvent> {
  let seen = lastId
  let isFirst = true
  let isLost = false
  while (!follow.signal.aborted) {
    try {
      const chunks = await subscribe(follow, seen)
      if (isLost) follow.onConnection('back')
      isFirst = false
      isLost = false
      for await (const event of parseEventStream(chunks)) {
        seen = event.id ?? seen
        yield event
      }
    } catch (error) {
      if (follow.signal.aborted) return
      const kind = failureOf(error)?.kind
      if (isFirst || (kind !== undefined && kind !== 'not_running' && kind !== 'no_answer')) throw error
    }
    if (follow.signal.aborted) return
    if (!isLost) follow.onConnection('lost')
    isLost = true
    await follow.pause(RETRY_MS)
  }
}

async function subscribe({ transport, signal }: Follow, lastId: string | undefined) {
  const answer = await transport.stream({
    method: 'GET',
    path: '/v1/events',
    signal,
    headers: { accept: 'text/event-stream', ...defined({ 'last-event-id': lastId }) },
  })
  if (answer.status === 200) return answer.chunks
  let text = ''
  for await (const chunk of answer.chunks) text += chunk
  return failWith(parseProblem(answer.status, text))
}
