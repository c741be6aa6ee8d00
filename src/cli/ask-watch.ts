/** Questions before a write, watched: printed as they open and close; at a terminal they are answered by a key. */
import { followEvents } from '../client/event-stream.js'
import { failureOf } from '../client/failure.js'
import { SECOND_MS } from '../std/clock.js'
import type { AskView } from '../wire/asks.js'
import { describeAnswer, describeAsk, describeOpened } from './ask-text.js'
import { cancelled } from './failure.js'
import { pause, type Session } from './session.js'
import { printable, printableJson } from './text.js'

/** Events tell at once; this is for those that were missed. */
const LOOK_MS = 5 * SECOND_MS
/** Whoever types does not mean what has just appeared. */
const SETTLE_MS = 700

export async function watchAsks(session: Session): Promise<number> {
  const watch = createWatch(session)
  await watch.look()
  const over = new AbortController()
  let isInterrupted = false
  const interrupt = () => {
    isInterrupted = true
    over.abort()
  }
  const signal = AbortSignal.any([over.signal, session.signal])
  let failure: unknown
  // Kept until the end: nobody awaits this while the events are followed.
  const ticking = tick(watch.look, signal).catch((error: unknown) => {
    failure = error
    over.abort()
  })
  const keys = session.isInteractive ? openKeys(session, watch.press, interrupt) : undefined
  const onConnection = (state: 'lost' | 'back') => {
    if (state === 'lost') session.say('Connection to the daemon lost; retrying.')
  }
  const follow = {
    transport: session.transport,
    signal,
    onConnection,
    pause: (ms: number) => pause(ms, signal),
  }
  try {
    if (!session.isJson) session.say('Waiting for questions, until Ctrl-C.')
    for await (const { data } of followEvents(follow)) {
      if (data.includes('"ask.')) await watch.look()
    }
  } finally {
    over.abort()
    keys?.close()
    await ticking
  }
  if (failure !== undefined) throw failure
  if (isInterrupted) throw cancelled()
  return 0
}

async function tick(look: () => Promise<void>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await pause(LOOK_MS, signal)
    if (!signal.aborted) await look()
  }
}

function createWatch(session: Session) {
  const { client, terminal } = session
  let shown = new Map<number, AskView>()
  let looking: Promise<void> = Promise.resolve()
  let current: { readonly ask: AskView; readonly since: number } | undefined

  async function compare(): Promise<void> {
    const { asks } = await client.asks()
    const open = new Map(asks.map((ask) => [ask.id, ask]))
    for (const ask of shown.values()) if (!open.has(ask.id)) tell('closed', ask)
    for (const ask of asks) if (!shown.has(ask.id)) tell('opened', ask)
    shown = open
    offer()
  }

  function tell(state: 'opened' | 'closed', ask: AskView): void {
    const text = state === 'opened' ? describeOpened(ask) : `${ask.id}  closed`
    session.print(session.isJson ? printableJson({ state, ...ask }, 0) : text)
  }

  /** The oldest question is the one that a key answers. */
  function offer(): void {
    const [ask] = shown.values()
    if (ask?.id === current?.ask.id) return
    current = ask && { ask, since: terminal.now() }
    if (ask === undefined || !session.isInteractive) return
    session.say(`Question ${ask.id}: ${printable(ask.sentence)}?  y yes · h yes for an hour · n no · b body`)
  }

  async function act(key: string): Promise<void> {
    if (current === undefined || terminal.now() - current.since < SETTLE_MS) return
    const { id, digest } = current.ask
    if (key === 'b') return session.say(describeAsk(await client.oneAsk(id)))
    const answer = ANSWERS[key]
    if (answer !== undefined) session.say(describeAnswer(await client.answerAsk(id, { ...answer, digest })))
  }

  return {
    /** One look after the other. Rejects as the client does, but for a daemon that is not there now. */
    look(): Promise<void> {
      looking = looking.then(compare).catch((error: unknown) => {
        const kind = failureOf(error)?.kind
        if (session.signal.aborted || kind === 'not_running' || kind === 'no_answer') return
        throw error
      })
      return looking
    },
    press: (key: string) =>
      void act(key).catch((error: unknown) => {
        session.say(`prefect-auth: ${failureOf(error)?.detail ?? String(error)}`)
      }),
  }
}

const ANSWERS: Readonly<Record<string, { readonly accept: boolean; readonly for?: 'hour' }>> = {
  y: { accept: true },
  h: { accept: true, for: 'hour' },
  n: { accept: false },
}

/** Keys without Enter; Ctrl-C is one of them. */
function openKeys({ terminal: { stdin } }: Session, press: (key: string) => void, interrupt: () => void) {
  const onData = (chunk: Buffer) => {
    const keys = chunk.toString()
    if (keys.includes('\u0003')) return interrupt()
    // A paste is no answer.
    if (keys.length === 1) press(keys.toLowerCase())
  }
  stdin.setRawMode(true)
  stdin.on('data', onData)
  stdin.resume()
  return {
    close() {
      stdin.off('data', onData)
      stdin.setRawMode(false)
      stdin.pause()
    },
  }
}
