/** The daemon, as the page asks it: with the bearer that lives in this tab's memory and nowhere else. */
import { parseEventStream } from '../../client/event-stream.js'
import { failureOf, failWith, parseProblem } from '../../client/failure.js'
import type { AnswerAskBody, AskDetail, AskList } from '../../wire/asks.js'
import type { AuditList, Event } from '../../wire/events.js'
import type { Doctor, Status } from '../../wire/status.js'
import type { TokenList } from '../../wire/tokens.js'

export type Broker = ReturnType<typeof createBroker>

/** Swaps the secret of the link for a bearer. Throws the daemon's refusal. */
export async function swapLink(link: string): Promise<string> {
  const response = await fetch('/session', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ link }),
  })
  const answer: { readonly bearer: string } = await answerOf(response)
  return answer.bearer
}

/** Answers are those of the daemon that sent this page, so their form is known. */
export function createBroker(bearer: string) {
  const ask = (path: string, init: RequestInit = {}) =>
    fetch(path, {
      ...init,
      headers: { authorization: `Bearer ${bearer}`, ...(init.body === undefined ? {} : JSON_BODY) },
    })
  const get = async (path: string) => answerOf(await ask(path))
  return {
    status: (): Promise<Status> => get('/v1/status'),
    doctor: (): Promise<Doctor> => get('/v1/doctor'),
    tokens: (): Promise<TokenList> => get('/v1/tokens'),
    /** `since` is epoch ms. */
    audit: (since: number): Promise<AuditList> =>
      get(`/v1/audit?since=${encodeURIComponent(new Date(since).toISOString())}`),
    asks: (): Promise<AskList> => get('/v1/asks'),
    /** Resolves with `undefined` if it is closed by now. */
    ask: (id: number): Promise<AskDetail | undefined> =>
      get(`/v1/asks/${id}`).catch((error: unknown) => {
        if (failureOf(error)?.code !== 'ask_not_found') throw error
      }),
    answer: async (id: number, body: AnswerAskBody): Promise<void> => {
      await answerOf(await ask(`/v1/asks/${id}`, { method: 'POST', body: JSON.stringify(body) }))
    },
    revoke: async (id: string): Promise<void> => {
      await answerOf(await ask(`/v1/tokens/${encodeURIComponent(id)}`, { method: 'DELETE' }))
    },
    /** Resolves when the stream has ended. Throws if there is none. */
    follow: async (onEvent: (event: Event) => void): Promise<void> => {
      const response = await ask('/v1/events')
      if (!response.ok) await answerOf(response)
      for await (const { data } of parseEventStream(textOf(response))) {
        const event: Event = JSON.parse(data)
        onEvent(event)
      }
    },
  }
}

const JSON_BODY = { 'content-type': 'application/json' } as const

async function answerOf(response: Response) {
  if (response.ok) return response.json()
  return failWith(parseProblem(response.status, await response.text()))
}

/** Safari's streams cannot be iterated. */
async function* textOf({ body }: Response): AsyncGenerator<string> {
  const reader = body?.pipeThrough(new TextDecoderStream()).getReader()
  while (reader !== undefined) {
    const { value, done } = await reader.read()
    if (done) return
    yield value
  }
}
