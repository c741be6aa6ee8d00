/** Questions before a write: a request waits until its owner has said yes. The contract of the room. */
import type { Peer } from '../os/peer.js'
import type { Effect } from '../wire/kinds.js'
import type { Allowance, Answer } from './book.js'

/** Who gives an answer: a program on the owner's socket, or a way that only a person can take. */
export type Answerer =
  | { readonly kind: 'program'; readonly peer: Peer | undefined }
  | { readonly kind: 'person' }

/** An open question, as people see it. Times in epoch ms. */
export interface AskFacts {
  readonly id: number
  readonly profile: string
  readonly token: { readonly id: string; readonly name: string }
  /** `start deployment Testing/nightly in prefect/production` */
  readonly sentence: string
  readonly operation: string
  readonly effect?: Effect
  readonly method: string
  /** With its query. */
  readonly path: string
  /** Programs that asked, as far as the system tells; the last ones. */
  readonly who: readonly string[]
  readonly openedAt: number
  readonly lastAskedAt: number
  /** The client counts its attempts, and fails after about two minutes. */
  readonly givesUp?: true
  /** Of the method, path, query, media type and body. */
  readonly digest: string
  readonly bodyBytes: number
}

/** For the status. */
export function noticesOfAsks(count: number): readonly string[] {
  if (count === 0) return []
  return [`${count === 1 ? '1 request waits' : `${count} requests wait`} for your yes: prefect-auth asks`]
}

export interface AskBody {
  /** Absent: it is no text. Anything like a key is cut out. */
  readonly text?: string
  readonly isCut: boolean
  readonly mediaType?: string
}

export interface Asks {
  /** Open questions, oldest first, once their names were looked up or could not be. */
  list(): Promise<readonly AskFacts[]>
  /** Rejects with `ask_not_found`. */
  find(id: number): Promise<AskFacts & { readonly body: AskBody }>
  /** What is allowed for an hour. `until` in epoch ms. */
  allowances(): readonly Allowance[]
  /**
   * `digest`: of the question that was seen, if the answerer knows it. Rejects with `ask_not_found` if nobody is waiting,
   * `ask_answer_refused` if this answerer may not say yes, `bad_request`.
   */
  answer(
    id: number,
    answer: Answer,
    answerer: Answerer,
    options?: { readonly digest?: string },
  ): Promise<AskFacts>
  /** How many questions are open. */
  count(): number
  close(): void
}
