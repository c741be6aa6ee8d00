/** The one document that a fleet shares: the key, the key before it, and who is about to rotate. */

import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import { SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { Secret } from '../std/secret.js'
import { leastOverlapMs, type Pace } from './pace.js'

/** A key at Prefect, without its text. Times in epoch ms by Prefect's clock. */
export interface KeyMark {
  readonly id: string
  readonly createdAt: number
  /** Absent: it never expires. */
  readonly expiresAt?: number
  /** When the overlap ends that a newer key has started, as far as the fleet knows. */
  readonly endsAt?: number
}

/** A machine may be minting. */
export interface Intent {
  readonly machine: string
  readonly nonce: string
  /** Prefect's time when the machine last asked for the newest key, epoch ms. */
  readonly at: number
}

export interface ShareDocument {
  /** Counts the published keys. */
  readonly n: number
  readonly apiUrl: string
  readonly accountId: string
  readonly serviceAccount: { readonly id: string; readonly name: string }
  readonly pace: Pace
  readonly current: KeyMark
  readonly previous?: KeyMark
  /** Whose turn it is. */
  readonly claim?: Intent
  /** Claims that others took over: a key that one of these has minted late is no stranger's. */
  readonly abandoned: readonly Intent[]
  /** After a lost answer: when the next mint must have been sent. */
  readonly mintBy?: number
  /** Keys that nobody of the fleet made, since the fleet last rotated by itself. */
  readonly foreign: readonly KeyMark[]
}

/** A document as the store has it: the marks, and the texts of the keys by id. */
export interface ReadDocument {
  readonly document: ShareDocument
  readonly keys: ReadonlyMap<string, Secret>
}

/** How many entries a list of the document has at most: the last ones. */
export const MAX_LISTED = 50

const FORMAT = 1

const ms = z.number().int().nonnegative()
const keyId = z.string().regex(/^[A-Za-z0-9_-]{1,100}$/)
const mark = { id: keyId, created: ms, expires: ms.optional(), ends: ms.optional() }
const sharedKey = z.strictObject({ ...mark, key: z.string().regex(/^[\x21-\x7e]{8,400}$/) })

const intent = z.strictObject({ machine: z.string().max(200), nonce: z.string().max(100), at: ms })

const schema = z.strictObject({
  format: z.literal(FORMAT),
  n: z.number().int().positive(),
  api: z.url(),
  account: keyId,
  service_account: z.strictObject({ id: keyId, name: z.string().min(1).max(200) }),
  // Edited by hand, it could have the store asked without a pause, or end keys that jobs have.
  pace: z
    .strictObject({ every_ms: ms.min(SECOND_MS), overlap_ms: ms.positive(), life_ms: ms.positive() })
    .refine(({ every_ms: everyMs, overlap_ms }) => overlap_ms >= leastOverlapMs({ everyMs })),
  current: sharedKey,
  previous: sharedKey.optional(),
  claim: intent.optional(),
  abandoned: z.array(intent).max(2 * MAX_LISTED),
  mint_by: ms.optional(),
  foreign: z.array(z.strictObject(mark)).max(2 * MAX_LISTED),
})

const anyFormat = z.looseObject({ format: z.number() })

/**
 * Throws `share_document_invalid` or `share_document_newer`; neither names a value. `where`: completes "the document at …".
 */
export function readDocument(data: unknown, where: string): ReadDocument {
  const version = anyFormat.safeParse(data)
  if (version.success && version.data.format > FORMAT) {
    throw new BrokerError(
      'share_document_newer',
      `the document at ${where} has format ${version.data.format}, and this version reads format ${FORMAT}`,
      { hint: 'update prefect-auth-broker on this machine' },
    )
  }
  const read = schema.safeParse(data)
  if (!read.success) throw invalid(where, read.error)
  const { n, api, account, service_account, pace, current, previous, abandoned, foreign } = read.data
  const { claim, mint_by: mintBy } = read.data
  return {
    document: {
      n,
      apiUrl: api,
      accountId: account,
      serviceAccount: service_account,
      pace: { everyMs: pace.every_ms, overlapMs: pace.overlap_ms, lifeMs: pace.life_ms },
      current: toMark(current),
      abandoned,
      foreign: foreign.map(toMark),
      ...defined({ previous: previous && toMark(previous), claim, mintBy }),
    },
    keys: new Map([current, previous ?? []].flat().map(({ id, key }) => [id, new Secret(key)])),
  }
}

/** What the store keeps. Throws if the text of a key is missing, or if no machine would read it: it would stop the whole fleet. */
export function writeDocument(
  { n, apiUrl, accountId, serviceAccount, pace, ...rest }: ShareDocument,
  keyOf: (id: string) => Secret | undefined,
): Record<string, unknown> {
  const { current, previous, claim, abandoned, mintBy, foreign } = rest
  const withKey = (known: KeyMark) => {
    const key = keyOf(known.id)
    if (key === undefined) throw new Error('a shared key has no text')
    return { ...fromMark(known), key: key.reveal() } // into the store, which is where the fleet reads it
  }
  const data = {
    format: FORMAT,
    n,
    api: apiUrl,
    account: accountId,
    service_account: serviceAccount,
    pace: { every_ms: pace.everyMs, overlap_ms: pace.overlapMs, life_ms: pace.lifeMs },
    current: withKey(current),
    abandoned,
    foreign: foreign.map(fromMark),
    ...defined({ previous: previous && withKey(previous), claim, mint_by: mintBy }),
  }
  const read = schema.safeParse(data)
  if (!read.success) throw new Error(`a document that no machine would read: ${fieldOf(read.error)}`)
  return data
}

function toMark({ id, created, expires, ends }: Omit<z.output<typeof sharedKey>, 'key'>): KeyMark {
  return { id, createdAt: created, ...defined({ expiresAt: expires, endsAt: ends }) }
}

function fromMark({ id, createdAt, expiresAt, endsAt }: KeyMark) {
  return { id, created: createdAt, ...defined({ expires: expiresAt, ends: endsAt }) }
}

/** The first field that is wrong, never its value. */
function fieldOf({ issues: [issue] }: z.ZodError): string {
  const path = issue?.path.map(String).join('.') ?? ''
  return path.replace(/[^\w.-]/g, '?').slice(0, 80)
}

function invalid(where: string, error: z.ZodError): BrokerError {
  const path = fieldOf(error)
  const field = path === '' ? '' : `: ${path}`
  return new BrokerError(
    'share_document_invalid',
    `the document at ${where} is not one of prefect-auth, or somebody has edited it${field}`,
    { hint: 'check the path, or restore an earlier version of the document in the store' },
  )
}
