/** The protocol: what a machine of a fleet does next, by what it knows. Pure. */

import { MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { sha256Hex } from '../std/secret.js'
import { type Intent, type KeyMark, MAX_LISTED, type ShareDocument } from './document.js'
import { apartMs, stalenessMs, turnMs, waitMs } from './pace.js'
import type { HeldMark, View } from './view.js'

export type Step =
  | { readonly do: 'read' }
  /** Ask Prefect for the newest key of the service account. */
  | { readonly do: 'ask' }
  /** Verify this key of the document, put it into the vault, and serve it. */
  | { readonly do: 'take'; readonly key: HeldMark }
  /** Ask Prefect whether it accepts this key of ours. */
  | { readonly do: 'verify'; readonly id: string }
  /** Write the document if it still has the version that was seen. */
  | {
      readonly do: 'write'
      readonly why: 'claim' | 'publish' | 'release' | 'foreign'
      readonly document: ShareDocument
    }
  /** Rotate at Prefect, and put the key into the vault. */
  | { readonly do: 'mint'; readonly overlapMs: number; readonly lifeMs: number }
  /** A minted key that nobody needs from this machine any more. */
  | { readonly do: 'drop'; readonly id: string; readonly isPublished: boolean }
  /** Nothing to do until the next pass. */
  | { readonly do: 'rest'; readonly standing: Standing }

/**
 * `unread`, `untold`: the store, Prefect, did not answer. `waiting`: for another machine's turn, or until every machine has the
 * last key. `astray`: Prefect has a newer key than the document, seen once. `stale`: it has none that is as new. `foreign`:
 * somebody else made it. `second_owner`: that happened twice in a row.
 * `unverified`: this machine has the newest key, and Prefect does not accept it. `held_back`: after a failure.
 */
export type Standing =
  | 'idle'
  | 'unread'
  | 'untold'
  | 'waiting'
  | 'astray'
  | 'stale'
  | 'foreign'
  | 'second_owner'
  | 'unverified'
  | 'held_back'

const MAX_CONFLICTS = 5
/** Without a reason, Prefect is asked at every so many reads of the store. */
const ASK_EVERY = 5
/** Two machines of Prefect may differ by this, and an answer may be this old. */
const SLACK_MS = MINUTE_MS
const STRANGERS = 2

/** `now`: of the machine's monotonic clock. */
export function plan(view: View, now: number): Step {
  const { seen, pass } = view
  if (seen === undefined || seen.readAt < pass.startedAt) {
    const isOver = pass.hasFailed.includes('read') || pass.conflicts > MAX_CONFLICTS
    return isOver ? rest('unread') : { do: 'read' }
  }
  const { document } = seen
  const taking = planTaking(view, document)
  if (taking !== undefined) return taking
  if (!view.mayRotate) return rest('idle')
  if (pass.hasFailed.includes('write')) return rest('unread')
  return (
    planKept(view, document) ??
    planPublication(view, document) ??
    planTurn(view, document, now) ??
    planAsking(view, document, now) ??
    planRotation(view, document, now)
  )
}

/** By the order in which Prefect made the keys: a store that went back in time takes nothing away. */
function planTaking({ held, refused }: View, { n, current, previous }: ShareDocument): Step | undefined {
  const isRefused = held !== undefined && refused.includes(held.id)
  const isNewer = held === undefined || current.createdAt > held.createdAt
  if ((isNewer || (isRefused && current.id !== held.id)) && !refused.includes(current.id)) {
    return { do: 'take', key: { ...current, n } }
  }
  const isOther = previous !== undefined && previous.id !== held?.id && !refused.includes(previous.id)
  return isRefused && isOther ? { do: 'take', key: { ...previous, n: n - 1 } } : undefined
}

function planKept(view: View, { current }: ShareDocument): Step | undefined {
  const { kept, held, accepted, refused, told } = view
  const isPublished = ({ createdAt }: KeyMark) => held?.id === current.id && createdAt <= current.createdAt
  for (const key of kept) {
    const { id, expiresAt } = key
    const isExpired = expiresAt !== undefined && told !== undefined && told.asOf > expiresAt
    const isOver = isPublished(key) && accepted.includes(current.id)
    if (isOver || isExpired) return { do: 'drop', id, isPublished: id === current.id }
  }
  const isUnsure = !accepted.includes(current.id) && !refused.includes(current.id)
  return isUnsure && kept.some(isPublished) ? { do: 'verify', id: current.id } : undefined
}

/** Whoever has a newer key than the document publishes it: one that it minted, or one that the store has forgotten. */
function planPublication(view: View, document: ShareDocument): Step | undefined {
  const { held, kept, accepted, refused } = view
  const newest = [...kept, held ?? []]
    .flat()
    .filter(({ id, createdAt }) => createdAt > document.current.createdAt && !refused.includes(id))
    .reduce<KeyMark | undefined>(
      (best, one) => (best && best.createdAt > one.createdAt ? best : one),
      undefined,
    )
  if (newest === undefined) return undefined
  if (!accepted.includes(newest.id)) return { do: 'verify', id: newest.id }
  return { do: 'write', why: 'publish', document: published(view, document, newest) }
}

function published(view: View, document: ShareDocument, key: KeyMark): ShareDocument {
  const { held, kept, isWanted, machine, told } = view
  const { claim, mintBy: _, ...rest } = document
  const { current, pace, abandoned, foreign } = document
  const isMinted = kept.some(({ id }) => id === key.id)
  const n = isMinted ? Math.max(document.n, held?.n ?? 0) + 1 : Math.max(document.n + 1, held?.n ?? 0)
  const endsAt = Math.min(current.endsAt ?? Number.POSITIVE_INFINITY, key.createdAt + pace.overlapMs)
  const { id, createdAt, expiresAt } = key
  // A person who rotates over a stranger's key has not said that the stranger is gone.
  const isSuspicious = !isMinted || (isWanted && foreign.length < STRANGERS)
  return {
    ...rest,
    n,
    current: { id, createdAt, ...defined({ expiresAt }) },
    previous: { ...current, endsAt },
    abandoned: living(
      [...abandoned, claim?.machine === machine ? [] : (claim ?? [])].flat(),
      told?.asOf,
      document,
    ),
    foreign: isSuspicious ? foreign : [],
  }
}

/** Of the turn that this process has: nothing was minted in it yet. */
function planTurn({ claim }: View, document: ShareDocument, now: number): Step | undefined {
  if (claim === undefined || claim.nonce !== document.claim?.nonce) return undefined
  const { overlapMs, lifeMs } = document.pace
  const isLate = now - claim.startedAt > turnMs(document.pace)
  if (!isLate && claim.isOver !== true) return { do: 'mint', overlapMs, lifeMs }
  const { claim: _, ...released } = document
  return { do: 'write', why: 'release', document: released }
}

/** Prefect is asked in every pass in which its answer may matter. */
function planAsking(view: View, document: ShareDocument, now: number): Step | undefined {
  const { told, pass, isWanted } = view
  if (told !== undefined && told.askedAt >= pass.startedAt) return undefined
  const isReason =
    told === undefined ||
    isWanted ||
    document.claim !== undefined ||
    told.newest?.id !== document.current.id ||
    now - told.askedAt >= ASK_EVERY * document.pace.everyMs ||
    isDue(view, document, told.asOf + (now - told.askedAt))
  if (!isReason) return rest(document.foreign.length < STRANGERS ? 'idle' : 'second_owner')
  return pass.hasFailed.includes('ask') ? rest('untold') : { do: 'ask' }
}

function planRotation(view: View, document: ShareDocument, now: number): Step {
  const { told, isWanted, seen } = view
  if (told === undefined) return rest('untold')
  const { newest, asOf } = told
  const { current, foreign, pace } = document
  const isConfirmed = now - told.since >= apartMs(pace)
  if (newest?.id === current.id) {
    if (isWanted) return planClaim(view, document, now)
    if (foreign.length >= STRANGERS) return rest('second_owner')
    return isDue(view, document, asOf) ? planClaim(view, document, now) : rest('idle')
  }
  if (newest === undefined || newest.createdAt < current.createdAt) {
    // Asked before the last publication: the answer is older than the document.
    if (seen !== undefined && told.askedAt <= seen.since) return rest('idle')
    return isWanted && isConfirmed ? planClaim(view, document, now) : rest('stale')
  }
  if (!isConfirmed) return rest('astray')
  if (view.kept.some(({ id }) => id === newest.id) && !isWanted) return rest('unverified')
  const isOurs = view.intents.some((intent) => mayHaveMade(intent, newest, document))
  if (isOurs || isWanted) return planClaim(view, document, now, newest)
  if (!foreign.some(({ id }) => id === newest.id)) {
    // Somebody may go on for months: the document has room for so many.
    const known = [...foreign, newest].slice(-MAX_LISTED)
    return { do: 'write', why: 'foreign', document: { ...document, foreign: known } }
  }
  return rest(foreign.length < STRANGERS ? 'foreign' : 'second_owner')
}

/** `lost`: a newer key whose text nobody has. With it the overlap of the current one has begun. */
function planClaim(view: View, document: ShareDocument, now: number, lost?: KeyMark): Step {
  const { seen, told, machine, pass, notBefore, intents } = view
  const { claim, pace, mintBy } = document
  const { asOf = 0 } = told ?? {}
  const stoodMs = now - (seen?.since ?? now)
  const needMs = claim === undefined ? (lost === undefined ? stalenessMs(pace) : 0) : waitMs(pace)
  if (stoodMs < needMs) return rest('waiting')
  const isUrgent = mintBy !== undefined && asOf >= mintBy
  if (notBefore !== undefined && now < notBefore && !isUrgent) return rest('held_back')
  const current = lost === undefined ? document.current : endedBy(document.current, lost, pace.overlapMs)
  const thirdMs = Math.floor(Math.max(0, (current.endsAt ?? asOf) - asOf) / 3)
  return {
    do: 'write',
    why: 'claim',
    document: {
      ...document,
      current,
      claim: { machine, nonce: pass.nonce, at: asOf },
      abandoned: living(intents, asOf, document, lost),
      ...defined({
        mintBy: lost === undefined ? mintBy : Math.min(mintBy ?? asOf + thirdMs, asOf + thirdMs),
      }),
    },
  }
}

function endedBy(current: KeyMark, { createdAt }: KeyMark, overlapMs: number): KeyMark {
  return { ...current, endsAt: Math.min(current.endsAt ?? Number.POSITIVE_INFINITY, createdAt + overlapMs) }
}

/** How long after an intent a key may still come of it. */
function windowMs({ pace }: ShareDocument): number {
  return 3 * waitMs(pace)
}

function mayHaveMade({ at }: Intent, { createdAt }: KeyMark, document: ShareDocument): boolean {
  return createdAt >= at - SLACK_MS && createdAt <= at + windowMs(document) + SLACK_MS
}

/** Intents that a key may still come of, or that the lost one has come of. */
function living(
  intents: readonly Intent[],
  asOf: number | undefined,
  document: ShareDocument,
  lost?: KeyMark,
): readonly Intent[] {
  const isLiving = (intent: Intent) =>
    asOf === undefined ||
    intent.at + windowMs(document) + SLACK_MS > asOf ||
    (lost !== undefined && mayHaveMade(intent, lost, document))
  return intents.filter(isLiving).slice(-MAX_LISTED)
}

/** After two thirds of the key's life, each machine a bit earlier, so that one comes first. `at`: Prefect's time. */
function isDue({ machine }: View, document: ShareDocument, at: number): boolean {
  return at >= dueAt(document, machine)
}

/** When this machine rotates the current key, epoch ms by Prefect's clock. */
export function dueAt({ current, pace }: ShareDocument, machine: string): number {
  const { createdAt, expiresAt = createdAt + pace.lifeMs, id } = current
  const life = expiresAt - createdAt
  const jitter = Number.parseInt(sha256Hex(`${machine} ${id}`).slice(0, 8), 16) / 2 ** 32
  return createdAt + (life * 2) / 3 - (jitter * life) / 15
}

function rest(standing: Standing): Step {
  return { do: 'rest', standing }
}
