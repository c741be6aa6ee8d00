/** Server-Sent Events: the parser, and a subscription that comes back after the daemon did. */
import { failureOf, failWith, parseProblem } from './failure.js'
import type { Transport } from './transport.js'

interface StreamEvent {
  readonly id: string | undefined
  readonly data: string
}

/** Cuts a stream of text into events, as the HTML standard says (lines end in LF or CRLF). Comments are dropped. */
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

export interface FollowDeps {
  readonly transport: Transport
  /** Waits before the next attempt; rejects when `signal` is aborted. */
  readonly pause: (ms: number) => Promise<void>
  /** Called once when the connection is lost, and once when it is back. */
  readonly onConnection: (state: 'lost' | 'back') => void
  readonly signal: AbortSignal
}

const RETRY_MS = 1_000

/**
 * Events from after `lastId` on, for ever: a lost connection is dialled again and goes on behind the last event seen.
 * Fails at once where the first connection cannot be made, or the daemon refuses.
 */
export async function* followEvents(deps: FollowDeps, lastId?: string): AsyncGenerator<StreamEvent> {
  let seen = lastId
  let isFirst = true
  let isLost = false
  while (!deps.signal.aborted) {
    try {
      const chunks = await subscribe(deps, seen)
      if (isLost) deps.onConnection('back')
      isFirst = false
      isLost = false
      for await (const event of parseEventStream(chunks)) {
        seen = event.id ?? seen
        yield event
      }
    } catch (error) {
      if (deps.signal.aborted) return
      const kind = failureOf(error)?.kind
      if (isFirst || (kind !== undefined && kind !== 'not_running' && kind !== 'no_answer')) throw error
    }
    if (!isLost) deps.onConnection('lost')
    isLost = true
    await deps.pause(RETRY_MS)
  }
}

async function subscribe({ transport, signal }: FollowDeps, lastId: string | undefined) {
  const answer = await transport.stream({
    method: 'GET',
    path: '/v1/events',
    signal,
    headers: { accept: 'text/event-stream', ...(lastId === undefined ? {} : { 'last-event-id': lastId }) },
  })
  if (answer.status === 200) return answer.chunks
  let text = ''
  for await (const chunk of answer.chunks) text += chunk
  return failWith(parseProblem(answer.status, text))
}
