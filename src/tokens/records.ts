/** Tokens as they are stored, how a presented one is found among them, and which are given up for room. */

import { BrokerError } from '../base/errors.js'
import { defined } from '../std/defined.js'
import type { TokenPower } from './access.js'
import type { KnownToken, Spent, TokenFacts, TokenLimits } from './tokens.js'

interface JobRecord {
  readonly pid?: number
  /** Distinguishes the process from a later one with the same pid. */
  readonly process?: string
  /** Milliseconds without use when the record was written. */
  readonly idleMs: number
  readonly isAgent?: true
}

/** `limited` is the power `proxy` with a policy, with questions or with a budget. A version that cannot enforce these does not know the word. */
export type RecordPower = TokenPower | 'limited'

export interface TokenRecord extends Omit<TokenFacts, 'lastUsedAt' | 'isJob' | 'isAgent' | 'power' | 'used'> {
  readonly power: RecordPower
  /** SHA-256 of the token in hex. A token has 256 random bits, so a plain hash cannot be searched. */
  readonly hash: string
  /** SHA-256 of its ticket in hex, which has as many. */
  readonly ticketHash?: string
  readonly job?: JobRecord
  /** The Python environment whose processes share this token, which is derived and not random. */
  readonly environment?: string
  /** Its writes of the last hour, if it has a budget. A crash loses at most the last minutes. */
  readonly writes?: readonly Spent[]
}

export interface TokenList {
  readonly tokens: readonly TokenRecord[]
  /** When the daemon that wrote this exited, epoch ms; absent if it kept running. */
  readonly leftAt?: number
}

export interface Entry {
  readonly record: TokenRecord
  readonly known: KnownToken
}

interface Index {
  token(hash: string): Entry | undefined
  ticket(hash: string): Entry | undefined
  byId(id: string): TokenRecord | undefined
  agents(): readonly Entry[]
}

/**
 * Looks up by hash; rebuilt when the list has changed. Since the hash of the presented text is looked up, the timing reveals
 * nothing that could be turned into a token.
 */
export function createIndex(): (list: TokenList) => Index {
  let of: TokenList | undefined
  let byToken = new Map<string, Entry>()
  let byTicket = new Map<string, Entry>()
  let byId = new Map<string, TokenRecord>()
  let agents: readonly Entry[] = []
  const index: Index = {
    token(hash) {
      const found = byToken.get(hash)
      return found !== undefined && isEqual(found.record.hash, hash) ? found : undefined
    },
    byId: (id) => byId.get(id),
    agents: () => agents,
    ticket(hash) {
      const found = byTicket.get(hash)
      return found !== undefined && isEqual(found.record.ticketHash ?? '', hash) ? found : undefined
    },
  }
  return (list) => {
    if (list !== of) {
      byId = new Map(list.tokens.map((record) => [record.id, record]))
      const entries = list.tokens.map((record) => ({ record, known: knownOf(record) }))
      agents = entries.filter(({ record }) => record.job?.isAgent)
      byToken = new Map(entries.map((entry) => [entry.record.hash, entry]))
      byTicket = new Map(
        entries.flatMap((entry) => {
          const { ticketHash } = entry.record
          return ticketHash === undefined ? [] : [[ticketHash, entry]]
        }),
      )
      of = list
    }
    return index
  }
}

function knownOf({
  id,
  name,
  power,
  profiles,
  workspace,
  policy,
  ask,
  budget,
  job,
}: TokenRecord): KnownToken {
  const known = { id, name, power: powerOf(power), profiles, ...defined({ workspace, policy, ask, budget }) }
  if (job === undefined) return known
  const { pid, process, isAgent } = job
  return {
    ...known,
    isJob: true,
    ...defined({ isAgent }),
    ...(pid && process ? { jobProcess: { pid, process } } : {}),
  }
}

/** Throws `bad_request` for limits on a power that they cannot limit. */
export function recordPower(
  power: TokenPower,
  { policy, ask, budget }: { readonly [Limit in keyof TokenLimits]?: unknown },
): RecordPower {
  if (policy === undefined && ask === undefined && budget === undefined) return power
  if (power === 'proxy') return 'limited'
  throw new BrokerError(
    'bad_request',
    "a policy, questions and a budget need the power 'proxy': 'use' hands out the key itself, and 'inspect' reaches nothing at Prefect",
    { hint: 'prefect-auth token create --name NAME --may read' },
  )
}

/** What callers see of it. */
export function powerOf(power: RecordPower): TokenPower {
  return power === 'limited' ? 'proxy' : power
}

/** Compares two hashes in time that depends only on their length. */
export function isEqual(one: string, other: string): boolean {
  if (one.length !== other.length) return false
  let difference = 0
  for (let index = 0; index < one.length; index += 1)
    difference |= one.charCodeAt(index) ^ other.charCodeAt(index)
  return difference === 0
}

const MAX_JOB_TOKENS = 256
/**
 * Expired tokens that are kept. No clock of ours is believed so far that it may erase them for good: set right, it revives
 * them. Past this number, those that expired first go, so that the list does not grow.
 */
const MAX_EXPIRED_TOKENS = 1000

interface Ages {
  isActive(record: TokenRecord): boolean
  /** Milliseconds without use. */
  idleMs(record: TokenRecord): number
}

/** The list with `record` in it. */
export function withRoom({ tokens }: TokenList, record: TokenRecord, { isActive, idleMs }: Ages): TokenList {
  // A job's age is counted in awake time, which no clock that is set wrong can change: that one is over.
  const kept = tokens.filter((one) => one.job === undefined || isActive(one))
  const jobs = record.job === undefined ? [] : kept.filter(({ job }) => job !== undefined)
  const removed = new Set([...surplus(jobs, idleMs), ...longExpired(kept.filter((one) => !isActive(one)))])
  return { tokens: [...kept.filter((one) => !removed.has(one)), record] }
}

/** The tokens to remove so that one more fits: those unused for longest. */
function surplus(jobs: readonly TokenRecord[], idleMs: Ages['idleMs']): readonly TokenRecord[] {
  const over = jobs.length - (MAX_JOB_TOKENS - 1)
  return over <= 0 ? [] : [...jobs].sort((a, b) => idleMs(b) - idleMs(a)).slice(0, over)
}

/** The expired tokens to remove. */
function longExpired(expired: readonly TokenRecord[]): readonly TokenRecord[] {
  const over = expired.length - MAX_EXPIRED_TOKENS
  return over <= 0 ? [] : [...expired].sort((a, b) => a.expiresAt - b.expiresAt).slice(0, over)
}
