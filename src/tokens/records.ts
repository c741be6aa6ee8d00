/** Tokens as they are stored, and how a presented one is found among them. */

import { defined } from '../std/defined.js'
import type { KnownToken, TokenFacts } from './tokens.js'

interface JobRecord {
  readonly pid?: number
  /** Distinguishes the process from a later one with the same pid. */
  readonly process?: string
  /** Milliseconds without use when the record was written. */
  readonly idleMs: number
}

export interface TokenRecord extends Omit<TokenFacts, 'lastUsedAt' | 'isJob'> {
  /** SHA-256 of the token in hex. A token has 256 random bits, so a plain hash cannot be searched. */
  readonly hash: string
  /** SHA-256 of its ticket in hex, which has as many. */
  readonly ticketHash?: string
  readonly job?: JobRecord
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
}

/**
 * Looks up by hash; rebuilt when the list has changed. Since the hash of the presented text is looked up, the timing reveals
 * nothing that could be turned into a token.
 */
export function createIndex(): (list: TokenList) => Index {
  let of: TokenList | undefined
  let byToken = new Map<string, Entry>()
  let byTicket = new Map<string, Entry>()
  const index: Index = {
    token(hash) {
      const found = byToken.get(hash)
      return found !== undefined && isEqual(found.record.hash, hash) ? found : undefined
    },
    ticket(hash) {
      const found = byTicket.get(hash)
      return found !== undefined && isEqual(found.record.ticketHash ?? '', hash) ? found : undefined
    },
  }
  return (list) => {
    if (list !== of) {
      const entries = list.tokens.map((record) => ({ record, known: knownOf(record) }))
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

function knownOf({ id, name, power, profiles, workspace, job }: TokenRecord): KnownToken {
  const known = { id, name, power, profiles, ...defined({ workspace }) }
  return job === undefined ? known : { ...known, isJob: true }
}

/** Compares two hashes in time that depends only on their length. */
function isEqual(one: string, other: string): boolean {
  if (one.length !== other.length) return false
  let difference = 0
  for (let index = 0; index < one.length; index += 1)
    difference |= one.charCodeAt(index) ^ other.charCodeAt(index)
  return difference === 0
}
