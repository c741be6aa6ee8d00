/** Narrow tokens: `pab_` and 43 base64url characters, stored as SHA-256 hashes only. The contract of the room. */

import type { Policy } from '../policy/policy.js'
import type { WorkspaceIds } from '../prefect/api-url.js'
import type { AskMode } from '../wire/kinds.js'
import type { TokenPower } from './access.js'

/** In any hour, and in any minute. An absent one is not limited. */
export interface Budget {
  readonly writesPerHour?: number
  readonly requestsPerMinute?: number
}

/** So many at about that moment, epoch ms. */
export interface Spent {
  readonly at: number
  readonly count: number
}

/** Of the last hour, and of the last minute. */
export interface BudgetUse {
  readonly writes: number
  readonly requests: number
}

/** How a `proxy` token is narrowed below its workspace. */
export interface TokenLimits {
  /** Absent: the ground floor alone decides. */
  readonly policy?: Policy
  /** Which of its requests wait for the owner's yes; absent: none. */
  readonly ask?: AskMode
  /** How much of it may be used up in a while; absent: no limit. */
  readonly budget?: Budget
}

/** `policy`: the token's own refused it; `budget`: it was used up; `proxy`: nobody's token may do it. */
export type RefusedBy = 'policy' | 'budget' | 'proxy'

/** An operation of Prefect's that a token asked for and did not get. */
export interface RefusedOperation {
  /** `POST /deployments/{id}/create_flow_run` */
  readonly operation: string
  readonly count: number
  /** The last time, epoch ms. */
  readonly at: number
  readonly by: RefusedBy
}

/** A token's record without the token. Times in epoch ms. */
export interface TokenFacts extends TokenLimits {
  readonly id: string
  readonly name: string
  readonly power: TokenPower
  /** `*` for all. */
  readonly profiles: readonly string[]
  readonly createdAt: number
  readonly expiresAt: number
  /** To the minute; not durable. */
  readonly lastUsedAt?: number
  /** Made for one job: it expires only when unused. `expiresAt` is when it would if it were never used again. */
  readonly isJob?: true
  /** Of a program that was started as an agent: the owner's socket refuses what comes from inside of it. */
  readonly isAgent?: true
  /** When another user was found on our TCP port, who may have this token: it is refused until the owner decides. */
  readonly parkedAt?: number
  /** The workspace of its profile when it was made: a job stays in the workspace it started in. */
  readonly workspace?: WorkspaceIds
  /** What the proxy did not forward, the newest first. A crash loses at most the last minutes. */
  readonly refused?: readonly RefusedOperation[]
  /** What it has used of its budget; absent without one. */
  readonly used?: BudgetUse
}

/** What a presented token allows. The same object as long as the list of tokens does not change. */
export type KnownToken = Omit<TokenFacts, 'createdAt' | 'expiresAt' | 'lastUsedAt' | 'refused' | 'used'> & {
  readonly jobProcess?: JobProcess
}

/** The first process of a job. */
export interface JobProcess {
  readonly pid: number
  /** Distinguishes it from a later one with the same pid. */
  readonly process: string
}

interface NewToken {
  readonly facts: TokenFacts
  /** The only time that the token itself is available. */
  readonly token: string
  /** Stands in an API URL, and admits a WebSocket without credentials to sending events: 43 base64url characters. */
  readonly ticket?: string
  /** False: it could not be written, and ends with this daemon unless the disk works again before. */
  readonly isDurable: boolean
}

export interface Tokens {
  /** Limits are for the power `proxy` alone: throws `bad_request` otherwise. */
  create(
    wanted: {
      readonly name: string
      readonly power: TokenPower
      readonly profiles: readonly string[]
      readonly lifeMs: number
      readonly workspace?: WorkspaceIds
    } & TokenLimits,
  ): Promise<NewToken>
  /** Makes a `proxy` token for one job and one profile. If there are too many, the one unused for longest is revoked. */
  createForJob(
    wanted: {
      readonly name: string
      readonly profile: string
      readonly workspace?: WorkspaceIds
      /** The job's process, if the caller knows it. */
      readonly pid?: number
      /** Whether it gets a ticket as well: its clients may be such that send events without credentials. */
      readonly needsTicket?: boolean
      /** It is an agent's, and the system tells which programs come from inside of it. */
      readonly isAgent?: boolean
    } & TokenLimits,
  ): Promise<NewToken>
  /**
   * The one `proxy` token that all processes of a Python environment share, for one profile and its workspace: derived, so
   * that the same can be given again and is nowhere stored. Revoked, parked or unused for 14 days, it is followed by another.
   * Rejects as the vault does.
   */
  shareInEnvironment(wanted: {
    readonly name: string
    /** An absolute path. */
    readonly environment: string
    readonly profile: string
    readonly workspace?: WorkspaceIds
    readonly needsTicket?: boolean
  }): Promise<NewToken & { readonly isNew: boolean }>
  /** Active tokens only. */
  list(): readonly TokenFacts[]
  /** Takes effect with the next request. Rejects with `token_not_found`, and with `disk_failed` if it may not last. */
  revoke(id: string): Promise<void>
  /** Parks every job's token, durably; resolves with how many were not parked before. */
  parkJobs(): Promise<number>
  /** Ends the parking of one token, or of all; resolves with those. Rejects with `token_not_found`. */
  keep(id?: string): Promise<readonly TokenFacts[]>
  /** Whether the last run ended without `close` while jobs had tokens. Known after `resume`. */
  endedUnclean(): boolean
  /**
   * Returns `undefined` if it is unknown, revoked or expired. Throws `token_parked`. Memory only, constant time; counts as use.
   * `head`: an object that always comes with this very token; while it lives, its digest is made once.
   */
  recognise(presented: string, head?: object): KnownToken | undefined
  /** The token that a ticket belongs to; as `recognise` otherwise. */
  recogniseTicket(presented: string): KnownToken | undefined
  /** Counts as use, for a connection that is still open. Returns false if the token is unknown, revoked or expired. */
  use(id: string): boolean
  /**
   * Counts a request of the token against its budget, before it is sent. Returns what takes it back. Throws `budget_spent`. Memory
   * only; `age` and `close` write it.
   */
  spend(id: string, isWrite: boolean): () => void
  /** The active tokens of agents. Memory only, and nothing to look at if there are none. */
  agents(): readonly KnownToken[]
  /** Counts an operation that the proxy did not forward. Memory only; `age` and `close` write it. */
  noteRefused(id: string, operation: string, by: RefusedBy): void
  /** Call once at the start: adds the time that the daemon was away to the age of jobs' tokens. */
  resume(): Promise<void>
  /** Adds `ms`, in which the daemon was awake, to the age of jobs' tokens, and removes expired ones. Stores what was refused. */
  age(ms: number): Promise<void>
  /** Stores the ages of jobs' tokens and what was refused, so that the next start continues from there. */
  close(): Promise<void>
}
