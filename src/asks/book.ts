/** The book of questions: which requests wait for a yes, which have one, and which were refused. No I/O. */
import { HOUR_MS, MINUTE_MS } from '../std/clock.js'
import type { Effect } from '../wire/kinds.js'

/** A request as it is told apart from others. */
export interface Asked {
  readonly token: { readonly id: string; readonly name: string }
  readonly profile: string
  /** The workspace as a path, in lower case; a profile may get another one. */
  readonly root: string
  /** `METHOD /path/{template}`, as the table of operations has it. */
  readonly operation: string
  /** Absent: the operation is not in the table. */
  readonly effect?: Effect
  /** Hash of the method, the path with its query, the media type and the body. */
  readonly digest: string
  /** How long the client was told to wait before it asks again. */
  readonly retryMs: number
}

export interface Question<Details> extends Asked {
  /** Short, so that people can type it. Never used twice by one daemon. */
  readonly id: number
  /** What people are shown. */
  readonly details: Details
}

/** Everything of one operation that one token may do at one profile, in the workspace that it has. */
export interface Allowance {
  readonly tokenId: string
  readonly tokenName: string
  readonly profile: string
  readonly operation: string
  /** On the clock of the book. */
  readonly until: number
}

export type Answer = 'once' | 'hour' | 'no'

/** How an open question ended. */
export type Closing = 'accepted' | 'refused' | 'unanswered'

export type AskVerdict<Details> =
  /** `claimed`: the yes that this request has used up; absent if its operation is allowed for a while. */
  | { readonly kind: 'pass'; readonly claimed?: Claim<Details> }
  | { readonly kind: 'wait'; readonly question: Question<Details>; readonly isNew: boolean }
  | { readonly kind: 'refused'; readonly question: Question<Details> }
  | { readonly kind: 'full'; readonly whose: 'token' | 'all' }

/** A yes that was used up. */
export interface Claim<Details> {
  readonly question: Question<Details>
  readonly answeredAt: number
}

export interface Book<Details> {
  /** `describe` is called for a new question only. */
  ask(asked: Asked, describe: (id: number) => Details): AskVerdict<Details>
  /**
   * `hour`: this operation of this token at this profile and workspace, for an hour. Returns `undefined` if nobody is waiting:
   * there never was such a question, it was answered, or its client has given up.
   */
  answer(id: number, answer: Answer): Question<Details> | undefined
  /** Prefect has not had the request after all: its yes counts again, for as long as it would have. */
  giveBack(claim: Claim<Details>): void
  /** Oldest first. */
  open(): readonly Question<Details>[]
  allowances(): readonly Allowance[]
  /** Forgets what is over. Returns when the next open question will be, on the clock of the book. */
  sweep(): number | undefined
}

export interface BookLimits {
  /** Open questions of one token, and of all. */
  readonly perToken: number
  readonly total: number
  /** How long a yes waits for its request, and a no for a repetition. */
  readonly answerMs: number
  readonly allowanceMs: number
  /** A question whose client has not asked again for this many times its Retry-After has nobody waiting. */
  readonly patience: number
}

export const BOOK_LIMITS: BookLimits = {
  perToken: 20,
  total: 200,
  answerMs: 10 * MINUTE_MS,
  allowanceMs: HOUR_MS,
  patience: 3,
}

interface Entry<Details> {
  readonly question: Question<Details>
  readonly key: string
  state: 'open' | 'yes' | 'no'
  /** Of the last request if it is open, of the answer if not. */
  at: number
}

/** `now` never goes back. `firstId`: where ids begin; not always the same, so that an old id is not taken for a new one. */
export function createBook<Details>({
  now,
  firstId = 1,
  limits = BOOK_LIMITS,
  onClosed = () => undefined,
}: {
  readonly now: () => number
  readonly firstId?: number
  readonly limits?: BookLimits
  readonly onClosed?: (question: Question<Details>, closing: Closing) => void
}): Book<Details> {
  const entries = new Map<string, Entry<Details>>()
  const allowances = new Map<string, Allowance>()
  let nextId = firstId

  const dueAt = ({ state, at, question }: Entry<Details>) =>
    at + (state === 'open' ? question.retryMs * limits.patience : limits.answerMs)
  const openEntries = () => [...entries.values()].filter(({ state }) => state === 'open')

  function sweep(): number | undefined {
    const at = now()
    for (const [kind, { until }] of allowances) if (until <= at) allowances.delete(kind)
    for (const entry of [...entries.values()]) {
      if (dueAt(entry) > at) continue
      entries.delete(entry.key)
      if (entry.state === 'open') onClosed(entry.question, 'unanswered')
    }
    const dues = openEntries().map(dueAt)
    return dues.length === 0 ? undefined : Math.min(...dues)
  }

  /** Old answers go first: whoever asks again is asked about again. */
  function makeRoom(): void {
    const settled = [...entries.values()].filter(({ state }) => state !== 'open')
    const oldest = settled.sort((a, b) => a.at - b.at)[0]
    if (settled.length >= limits.total && oldest !== undefined) entries.delete(oldest.key)
  }

  function openQuestion(asked: Asked, key: string, describe: (id: number) => Details): AskVerdict<Details> {
    const open = openEntries()
    if (open.length >= limits.total) return { kind: 'full', whose: 'all' }
    const own = open.filter(({ question }) => question.token.id === asked.token.id)
    if (own.length >= limits.perToken) return { kind: 'full', whose: 'token' }
    const id = nextId
    nextId += 1
    const question = { ...asked, id, details: describe(id) }
    entries.set(key, { question, key, state: 'open', at: now() })
    return { kind: 'wait', question, isNew: true }
  }

  /** What was asked before its operation was allowed waits no longer. */
  function passAllowed(entry: Entry<Details> | undefined): AskVerdict<Details> {
    if (entry?.state === 'open') {
      entries.delete(entry.key)
      onClosed(entry.question, 'accepted')
    }
    return { kind: 'pass' }
  }

  return {
    ask(asked, describe) {
      sweep()
      const key = keyOf(asked)
      const entry = entries.get(key)
      if (allowances.has(kindOf(asked))) return passAllowed(entry)
      if (entry === undefined) return openQuestion(asked, key, describe)
      const { question, state } = entry
      if (state === 'no') return { kind: 'refused', question }
      if (state === 'open') {
        entry.at = now()
        return { kind: 'wait', question, isNew: false }
      }
      entries.delete(key)
      return { kind: 'pass', claimed: { question, answeredAt: entry.at } }
    },
    answer(id, answer) {
      sweep()
      const entry = openEntries().find(({ question }) => question.id === id)
      if (entry === undefined) return undefined
      const { question, key } = entry
      makeRoom()
      if (answer === 'hour') {
        entries.delete(key)
        allowances.set(kindOf(question), allowanceOf(question, now() + limits.allowanceMs))
      } else {
        entry.state = answer === 'no' ? 'no' : 'yes'
        entry.at = now()
      }
      onClosed(question, answer === 'no' ? 'refused' : 'accepted')
      return question
    },
    giveBack({ question, answeredAt }) {
      const key = keyOf(question)
      // The same request was sent again meanwhile, and is asked about.
      if (!entries.has(key)) entries.set(key, { question, key, state: 'yes', at: answeredAt })
    },
    open() {
      sweep()
      return openEntries().map(({ question }) => question)
    },
    allowances() {
      sweep()
      return [...allowances.values()]
    },
    sweep,
  }
}

function keyOf({ token, profile, operation, digest }: Asked): string {
  return JSON.stringify([token.id, profile, operation, digest])
}

function kindOf({ token, profile, root, operation }: Asked): string {
  return JSON.stringify([token.id, profile, root, operation])
}

function allowanceOf({ token, profile, operation }: Asked, until: number): Allowance {
  return { tokenId: token.id, tokenName: token.name, profile, operation, until }
}
