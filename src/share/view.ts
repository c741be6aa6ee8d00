/** What one machine knows of its share, and how each thing that it hears changes that. Pure. */

import { defined } from '../std/defined.js'
import type { Intent, KeyMark, ShareDocument } from './document.js'

/** A key of the fleet that this machine serves. */
export interface HeldMark extends KeyMark {
  /** Its number in the document. */
  readonly n: number
}

/** Moments are of the machine's monotonic clock, ms; `At` of Prefect's time, epoch ms, if it says so. */
export interface View {
  readonly machine: string
  readonly mayRotate: boolean
  /** A person on this machine wants a rotation now. */
  readonly isWanted: boolean
  /** Durable: the key that is served here. */
  readonly held?: HeldMark
  /** Durable: keys that this machine minted and whose publication is not settled. */
  readonly kept: readonly KeyMark[]

  readonly pass: {
    readonly startedAt: number
    readonly nonce: string
    /** What failed in it, and is not tried again before the next one. */
    readonly hasFailed: readonly ('read' | 'ask' | 'write')[]
    readonly conflicts: number
  }
  readonly seen?: {
    readonly document: ShareDocument
    readonly version: string
    /** When this version was first seen. */
    readonly since: number
    readonly readAt: number
  }
  readonly told?: {
    /** Prefect's newest key; absent: the service account has none. */
    readonly newest?: KeyMark
    /** Prefect's own time in that answer, epoch ms. */
    readonly asOf: number
    readonly askedAt: number
    /** When this key was first told to be the newest. */
    readonly since: number
  }
  /** Seen in any version of the document: a store that goes back in time forgets them. Durable: this machine's last one. */
  readonly intents: readonly Intent[]
  /** Ids of keys that Prefect has accepted in this process. */
  readonly accepted: readonly string[]
  /** Ids of keys that Prefect refused, or could not be asked about, in this pass. */
  readonly refused: readonly string[]
  /** The turn that this process has claimed; `isOver`: certainly nothing was minted in it. */
  readonly claim?: { readonly nonce: string; readonly startedAt: number; readonly isOver?: true }
  /** After failures: no further claim before this moment. */
  readonly notBefore?: number
}

export type Heard =
  | {
      readonly kind: 'pass'
      readonly now: number
      readonly nonce: string
      /** Prefect refuses the key that is served here. */
      readonly isHeldRefused: boolean
    }
  | {
      readonly kind: 'read'
      readonly document: ShareDocument
      readonly version: string
      readonly now: number
    }
  | { readonly kind: 'failed'; readonly what: 'read' | 'ask' | 'write' }
  | { readonly kind: 'told'; readonly newest?: KeyMark; readonly asOf: number; readonly askedAt: number }
  | { readonly kind: 'accepted' | 'refused'; readonly id: string }
  /** Verified, in the vault, and served. */
  | { readonly kind: 'taken'; readonly key: HeldMark }
  /** As the disk has it: a person's command may have changed it. */
  | { readonly kind: 'durable'; readonly held?: HeldMark; readonly kept: View['kept'] }
  /** Durable before the claim is sent. */
  | { readonly kind: 'claiming'; readonly intent: Intent; readonly now: number }
  | {
      readonly kind: 'written'
      readonly document: ShareDocument
      readonly version: string
      readonly now: number
    }
  /** The store has another version, or its answer was lost. */
  | { readonly kind: 'conflict' }
  /** The key is in the vault. */
  | { readonly kind: 'minted'; readonly key: KeyMark }
  | { readonly kind: 'unminted'; readonly isCertain: boolean; readonly notBefore: number }
  | { readonly kind: 'wanted' }
  | { readonly kind: 'dropped'; readonly id: string }

const MEMORY = 50

export function newView(
  known: Pick<View, 'machine' | 'mayRotate' | 'kept' | 'intents'> & { readonly held?: HeldMark },
): View {
  const pass = { startedAt: Number.NEGATIVE_INFINITY, nonce: '', hasFailed: [], conflicts: 0 }
  return { ...known, isWanted: false, pass, accepted: [], refused: [] }
}

export function heard(view: View, event: Heard): View {
  switch (event.kind) {
    case 'pass': {
      const { now: startedAt, nonce, isHeldRefused } = event
      const refused = isHeldRefused && view.held !== undefined ? [view.held.id] : []
      const accepted = view.accepted.filter((id) => !refused.includes(id))
      return { ...view, accepted, refused, pass: { startedAt, nonce, hasFailed: [], conflicts: 0 } }
    }
    case 'read':
    case 'written':
      return seen(view, event)
    case 'failed':
      return { ...view, pass: { ...view.pass, hasFailed: [...view.pass.hasFailed, event.what] } }
    case 'told': {
      const { kind: _, ...told } = event
      const isSame = view.told !== undefined && view.told.newest?.id === told.newest?.id
      return { ...view, told: { ...told, since: isSame ? view.told.since : told.askedAt } }
    }
    case 'accepted':
      return {
        ...view,
        accepted: including(view.accepted, event.id),
        refused: without(view.refused, event.id),
      }
    case 'refused':
      return {
        ...view,
        refused: including(view.refused, event.id),
        accepted: without(view.accepted, event.id),
      }
    case 'taken':
      return { ...view, held: event.key, accepted: including(view.accepted, event.key.id) }
    case 'durable': {
      const { held: _, ...rest } = view
      return { ...rest, kept: event.kept, ...defined({ held: event.held }) }
    }
    case 'claiming':
      return {
        ...view,
        intents: [...view.intents, event.intent],
        claim: { nonce: event.intent.nonce, startedAt: event.now },
      }
    case 'conflict':
      return unread({ ...view, pass: { ...view.pass, conflicts: view.pass.conflicts + 1 } })
    case 'minted':
      return withoutClaim({ ...view, kept: [...view.kept, event.key] })
    case 'unminted': {
      const { isCertain, notBefore } = event
      const { claim } = view
      if (!isCertain || claim === undefined) return withoutClaim({ ...view, notBefore })
      return { ...view, notBefore, claim: { ...claim, isOver: true } }
    }
    case 'wanted':
      return { ...view, isWanted: true }
    case 'dropped':
      return { ...view, kept: view.kept.filter(({ id }) => id !== event.id) }
  }
}

function seen(
  view: View,
  { document, version, now, kind }: Extract<Heard, { kind: 'read' | 'written' }>,
): View {
  const since = view.seen?.version === version ? view.seen.since : now
  const { createdAt } = document.current
  const isNewer = createdAt > (view.seen?.document.current.createdAt ?? 0)
  // A newer key is published: what came before it is settled, but for what the document says.
  const open = isNewer ? view.intents.filter(({ at }) => at > createdAt) : view.intents
  const intents = withIntents(open, document)
  const next = { ...view, intents, seen: { document, version, since, readAt: now } }
  // A key of this machine is published: what was wanted is done.
  const isPublished = kind === 'written' && view.seen?.document.current.id !== document.current.id
  if (isPublished) {
    const { notBefore: _, ...rest } = next
    return { ...rest, isWanted: false }
  }
  const isOurs = document.claim?.nonce === view.claim?.nonce
  return isOurs ? next : withoutClaim(next)
}

function withIntents(known: readonly Intent[], { claim, abandoned }: ShareDocument): readonly Intent[] {
  const fresh = [...abandoned, claim ?? []]
    .flat()
    .filter(({ nonce }) => known.every((one) => one.nonce !== nonce))
  return fresh.length === 0 ? known : [...known, ...fresh].slice(-MEMORY)
}

function unread(view: View): View {
  const { seen: old } = view
  return { ...view, ...defined({ seen: old && { ...old, readAt: Number.NEGATIVE_INFINITY } }) }
}

function withoutClaim({ claim: _, ...view }: View): View {
  return view
}

const without = (ids: readonly string[], id: string) => ids.filter((one) => one !== id)
const including = (ids: readonly string[], id: string) => [...without(ids, id), id].slice(-MEMORY)
