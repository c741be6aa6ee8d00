/** Finds the record of a presented token: by its hash, in constant time. */

import { defined } from '../std/defined.js'
import type { TokenList, TokenRecord } from './issue.js'
import type { KnownToken } from './tokens.js'

interface Entry {
  readonly record: TokenRecord
  readonly known: KnownToken
}

/**
 * Looks up by hash; rebuilt when the list has changed. Since the hash of the presented text is looked up, the timing reveals
 * nothing that could be turned into a token.
 */
export function createIndex(): (list: TokenList, hash: string) => Entry | undefined {
  let of: TokenList | undefined
  let entries = new Map<string, Entry>()
  return (list, hash) => {
    if (list !== of) {
      entries = new Map(list.tokens.map((record) => [record.hash, { record, known: knownOf(record) }]))
      of = list
    }
    return entries.get(hash)
  }
}

function knownOf({ id, name, power, profiles, workspace, job }: TokenRecord): KnownToken {
  const known = { id, name, power, profiles, ...defined({ workspace }) }
  return job === undefined ? known : { ...known, isJob: true }
}

/** Compares two hashes in time that depends only on their length. */
export function isEqual(one: string, other: string): boolean {
  if (one.length !== other.length) return false
  let difference = 0
  for (let index = 0; index < one.length; index += 1)
    difference |= one.charCodeAt(index) ^ other.charCodeAt(index)
  return difference === 0
}
