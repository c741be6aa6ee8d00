/** Pure: how it stands with the renewal of a key, in the words of `status`. */
import type { RenewalView } from '../wire/keys.js'
import { printable } from './printable.js'
import { formatDate, formatRelative } from './when.js'

/** `in 17 days (2026-12-08), last on 2026-11-20` */
export function describeRenewal(renewal: RenewalView, now: number): string {
  const { last } = renewal
  const before =
    last === undefined
      ? ''
      : `, last ${last.outcome === 'done' ? 'on' : 'tried in vain on'} ${formatDate(last.at)}`
  return `${describePlan(renewal, now)}${before}`
}

function describePlan({ plan, at, why }: RenewalView, now: number): string {
  switch (plan) {
    case 'scheduled':
      if (at === undefined) return 'planned'
      return Date.parse(at) <= now ? 'due now' : `${formatRelative(at, now)} (${formatDate(at)})`
    case 'not_renewable':
      return `not possible: ${printable(why ?? 'no reason given')}`
    case 'not_needed':
      return 'not needed'
  }
}

/** `1 still lives: sha256:1f2e3d4c5b6a until 2026-12-20`; `undefined` where none does. */
export function describeOldKeys({ old_keys }: RenewalView): string | undefined {
  if (old_keys.length === 0) return undefined
  const shown = old_keys.slice(0, 3).map(({ fingerprint, expires_at }) => {
    return `${printable(fingerprint)} ${expires_at === undefined ? '(end not known)' : `until ${formatDate(expires_at)}`}`
  })
  const more = old_keys.length > shown.length ? ', ...' : ''
  return `${old_keys.length} still ${old_keys.length === 1 ? 'lives' : 'live'}: ${shown.join(', ')}${more}`
}
