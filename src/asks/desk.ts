/** The desk where questions wait: opened by the proxy's gate, answered by people, closed when nobody waits. */
import type { Socket } from 'node:net'
import { BrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { RequestHead } from '../http/request.js'
import type { FindCaller } from '../os/callers.js'
import type { Peer } from '../os/peer.js'
import type { FindPeer } from '../os/peer-finder.js'
import { isMoreThanBookkeeping } from '../policy/changes.js'
import { WEBSOCKETS } from '../policy/operations.js'
import type { Visit } from '../proxy/admission.js'
import type { Gate, Pass } from '../proxy/gate.js'
import type { ReadUpstream } from '../proxy/upstream-read.js'
import { type Clock, SECOND_MS, sleep, type Timer } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { createElapsed } from '../std/elapsed.js'
import type { Log } from '../std/log.js'
import type { JobProcess } from '../tokens/tokens.js'
import type { Answerer, AskFacts, Asks } from './asks.js'
import { type Answer, type AskVerdict, createBook, type Question } from './book.js'
import type { Judge } from './judge.js'
import { findNames } from './names.js'
import { modeOf, needFor } from './need.js'
import { type AskedRequest, needOf, readRequest } from './request.js'
import { briefly, namesIn, sentenceOf } from './sentence.js'
import { createWitness, type Witness } from './witness.js'

export interface Desk {
  readonly gate: Gate
  readonly asks: Asks
}

interface Details {
  readonly request: AskedRequest
  readonly openedAt: number
  readonly witness: Witness
  /** Resolves when the sentence has its names and the asker is known, or cannot be. Never rejects. */
  readonly ready: Promise<void>
  lastAskedAt: number
  sentence: string
}

/** Nobody is asked. */
const FREE: Pass = { hasYes: false, giveBack: () => undefined }

/** Whoever is asked sees the question no later than this. */
const READY_MS = 3 * SECOND_MS

interface DeskParts {
  readonly clock: Clock
  readonly events: Pick<Events, 'emit'>
  readonly log: Log
  /** In [0, 1). */
  readonly random: () => number
  readonly read: ReadUpstream
  readonly findPeer: FindPeer
  /** For people, where the system tells nothing else. */
  readonly findCaller: FindCaller
  readonly judge: Judge
  /** The first process of a job; `undefined` if it has ended, or cannot be told. */
  readonly findJob: (job: JobProcess) => Promise<Peer | undefined>
  /** Profiles whose tokens ask before every write. */
  readonly profiles: readonly string[]
}

/** After a restart of the daemon its questions are gone, and so are their answers: clients ask again. */
export function createDesk(parts: DeskParts): Desk {
  const { clock, events, log, profiles, judge } = parts
  const elapsed = createElapsed(clock)
  const book = createBook<Details>({
    now: elapsed,
    // At most three digits, and others after a restart: a number on somebody's screen must not name a new question.
    firstId: 1 + Math.floor(parts.random() * 900),
    onClosed: ({ id, profile, details: { sentence } }, closing) => {
      events.emit('ask.closed', { profile, facts: { id, closing } })
      log.info({ id, profile, closing, sentence }, 'question closed')
    },
  })
  let timer: Timer | undefined
  const watch = () => {
    timer?.cancel()
    const due = book.sweep()
    timer = due === undefined ? undefined : clock.after(Math.max(due - elapsed(), SECOND_MS / 10), watch)
  }

  const describe = (request: AskedRequest, visit: Visit, socket: Socket) => (id: number) => {
    const witness = createWitness(parts)
    witness.see(socket)
    if (visit.token?.jobProcess !== undefined) witness.addRoot(parts.findJob(visit.token.jobProcess))
    const details: Details = {
      request,
      witness,
      openedAt: clock.now(),
      lastAskedAt: clock.now(),
      sentence: sentenceOf(request.spoken, () => undefined),
      ready: prepare(() => details, visit, id),
    }
    return details
  }

  async function prepare(details: () => Details, visit: Visit, id: number): Promise<void> {
    // The question itself is made first.
    await Promise.resolve()
    const { request, witness } = details()
    const { spoken, root, asked } = request
    const name = async () => {
      const names = await findNames(parts.read, visit, root, namesIn(spoken))
      details().sentence = sentenceOf(spoken, names)
    }
    await Promise.race([Promise.all([name(), witness.peers()]), sleep(clock, READY_MS)]).catch(
      () => undefined,
    )
    if (!book.open().some((one) => one.id === id)) return
    const { token, profile, operation } = asked
    const { sentence } = details()
    events.emit('ask.opened', { profile, facts: { id, sentence, token: token.name, operation } })
    log.info({ id, profile, token: token.id, sentence }, 'request waits for a yes')
  }

  const need = ({ method = '' }: RequestHead, visit: Visit) => {
    const mode = visit.token && modeOf(visit.token, visit.served.profile, profiles)
    return mode === undefined ? 'no' : needFor(mode, needOf(method, visit))
  }

  const gate: Gate = {
    concerns: (request, visit) => need(request, visit) !== 'no',
    pass(request, visit, body) {
      const read = readRequest(request, visit, body)
      const { operation, body: members } = read.spoken
      if (need(request, visit) === 'by body' && !isMoreThanBookkeeping(operation, members)) return FREE
      const kept = { ...read, spoken: briefly(read.spoken) }
      const verdict = book.ask(read.asked, describe(kept, visit, request.socket))
      watch()
      return resolve(verdict, request.socket)
    },
    requireSocket(request, visit) {
      const { operation } = needOf(request.method ?? '', visit)
      if (need(request, visit) !== 'no' && !WEBSOCKETS.has(operation)) throw cannotWait(operation)
    },
  }

  function resolve(verdict: AskVerdict<Details>, socket: Socket) {
    switch (verdict.kind) {
      case 'pass':
        return { hasYes: true, giveBack: () => verdict.claimed && book.giveBack(verdict.claimed) }
      case 'full':
        throw tooManyQuestions(verdict.whose)
      case 'refused':
        throw askRefused(verdict.question.details.sentence)
      case 'wait': {
        const { id, details } = verdict.question
        details.lastAskedAt = clock.now()
        details.witness.see(socket)
        throw askWaiting(id, details.sentence)
      }
    }
  }

  const findOpen = (id: number, digest?: string): Question<Details> => {
    const found = book.open().find((one) => one.id === id)
    if (found === undefined || (digest !== undefined && digest !== found.digest)) throw nobodyWaits(id)
    return found
  }

  async function requireJudge({ details }: Question<Details>, answerer: Answerer): Promise<void> {
    if (answerer.kind === 'person') return
    for (const asker of await details.witness.peers()) {
      const reason = judge(asker, answerer.peer)
      if (reason !== undefined) throw answerRefused(reason)
    }
  }

  const asks: Asks = {
    async list() {
      await Promise.all(book.open().map(({ details }) => details.ready))
      return book.open().map(factsOf)
    },
    async find(id) {
      const { details } = findOpen(id)
      await details.ready
      return { ...factsOf(findOpen(id)), body: details.request.body }
    },
    allowances: () =>
      book.allowances().map((one) => ({ ...one, until: clock.now() + one.until - elapsed() })),
    async answer(id, answer, answerer, { digest } = {}) {
      const question = findOpen(id, digest)
      if (answer !== 'no') {
        requireSort(question, answer)
        await requireJudge(question, answerer)
      }
      const facts = factsOf(question)
      if (book.answer(id, answer) === undefined) throw nobodyWaits(id)
      watch()
      return facts
    },
    count: () => book.open().length,
    close: () => timer?.cancel(),
  }
  return { gate, asks }
}

function factsOf({ id, details, ...asked }: Question<Details>): AskFacts {
  const { request, sentence, openedAt, lastAskedAt, witness } = details
  const { profile, token, operation, effect, digest } = asked
  return {
    ...{ id, profile, token, sentence, operation, digest, openedAt, lastAskedAt },
    who: witness.shown(),
    ...{ method: request.spoken.method, path: request.path, bodyBytes: request.bodyBytes },
    ...defined({ effect, givesUp: request.givesUp ? (true as const) : undefined }),
  }
}

/** What is not in the table has no sort: `POST /{id}` might be anything. */
function requireSort({ effect }: Question<Details>, answer: Answer): void {
  if (answer !== 'hour' || effect !== undefined) return
  throw new BrokerError(
    'bad_request',
    'the table of operations does not have this one: it can be allowed only once',
  )
}

function askWaiting(id: number, sentence: string): BrokerError {
  return new BrokerError('ask_waiting', `waiting for a yes: ${sentence}`, {
    hint: `prefect-auth asks yes ${id}`,
  })
}

function cannotWait(operation: string): BrokerError {
  return new BrokerError(
    'bad_request',
    `${operation} is not known as a WebSocket, and a handshake cannot wait for a yes`,
    { hint: 'send it as a plain request' },
  )
}

function askRefused(sentence: string): BrokerError {
  return new BrokerError('ask_refused', `the answer was no: ${sentence}`, {
    hint: 'the same request is asked about again ten minutes after the answer',
  })
}

function tooManyQuestions(whose: 'token' | 'all'): BrokerError {
  const subject = whose === 'token' ? 'this token has' : 'all tokens together have'
  return new BrokerError('too_many_requests', `${subject} too many requests that wait for a yes`, {
    hint: 'prefect-auth asks',
  })
}

function nobodyWaits(id: number): BrokerError {
  return new BrokerError('ask_not_found', `nobody is waiting for an answer to question ${id}`, {
    hint: 'prefect-auth asks',
  })
}

function answerRefused(reason: string): BrokerError {
  return new BrokerError('ask_answer_refused', reason)
}
