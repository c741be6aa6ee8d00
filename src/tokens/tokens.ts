/** Narrow tokens: `pab_` and 43 base64url characters, kept as SHA-256 hashes, compared in constant time. */

import type { WorkspaceIds } from '../prefect/api-url.js'
import type { Power } from './access.js'

export type TokenPower = Exclude<Power, 'admin'>

/** A token without the token. Times in epoch ms. */
export interface TokenFacts {
  readonly id: string
  readonly name: string
  readonly power: TokenPower
  /** `*` for all. */
  readonly profiles: readonly string[]
  readonly createdAt: number
  readonly expiresAt: number
  /** To the minute; not durable. */
  readonly lastUsedAt?: number
  /** Made for one job: it has no set end, it dies of not being used. `expiresAt` is when, should that begin now. */
  readonly isJob?: true
  /** The workspace of its profile when it was made: a job goes on where it began. */
  readonly workspace?: WorkspaceIds
}

/** What a presented token stands for. One object as long as the list of tokens is the same. */
export type KnownToken = Omit<TokenFacts, 'createdAt' | 'expiresAt' | 'lastUsedAt'>

/** One job through the proxy. */
interface JobWanted {
  readonly name: string
  readonly profile: string
  readonly workspace?: WorkspaceIds
  /** The job's process, where the caller knows it. */
  readonly pid?: number
}

export interface Tokens {
  create(wanted: {
    readonly name: string
    readonly power: TokenPower
    readonly profiles: readonly string[]
    readonly lifeMs: number
    readonly workspace?: WorkspaceIds
  }): Promise<{ readonly facts: TokenFacts; readonly token: string }>
  /** A `proxy` token for one job and one profile; where there are too many, the one unused for longest dies. */
  createForJob(wanted: JobWanted): Promise<{ readonly facts: TokenFacts; readonly token: string }>
  list(): readonly TokenFacts[]
  /** Throws `token_not_found`. Works from the next request on. */
  revoke(id: string): Promise<void>
  /** `undefined` where it is unknown, revoked or expired. Memory only, constant time. */
  recognise(presented: string): KnownToken | undefined
  /** Something is still open on behalf of this token: counts as use. False where it is unknown, revoked or expired. */
  use(id: string): boolean
  /** Once, at the start: jobs' tokens are older by the time that the daemon was away. */
  resume(): Promise<void>
  /** The daemon was awake for `ms`: jobs' tokens grow older, dead ones leave. */
  age(ms: number): Promise<void>
  /** Writes down how long jobs' tokens have been unused: the next start counts on from there. */
  close(): Promise<void>
}
