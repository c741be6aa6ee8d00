/** What doctor says of the listeners: whether they listen, and who fills them. */
import type { Crowd } from '../http/places.js'
import { DAY_MS, MINUTE_MS } from '../std/clock.js'
import { formatDuration } from '../std/time.js'
import type { ListenerFacts } from '../tokens/access.js'

export interface Check {
  readonly name: string
  readonly verdict: 'ok' | 'warning' | 'problem' | 'unknown'
  readonly finding: string
  readonly remedy?: string
}

export type Finding = Omit<Check, 'name'>

export function judgeListeners(listeners: readonly ListenerFacts[]): Finding {
  const failed = listeners.find(({ state }) => state === 'failed')
  if (failed === undefined) {
    const open = listeners.filter(({ state }) => state === 'listening')
    return { verdict: 'ok', finding: `listening on ${open.map(({ address }) => address).join(' and ')}` }
  }
  return {
    verdict: failed.door === 'socket' ? 'problem' : 'warning',
    finding: failed.problem ?? `cannot open ${failed.address}`,
    remedy:
      failed.remedy ??
      'set another port (PREFECT_AUTH_PORT) and restart prefect-authd, or use the unix socket',
  }
}

/** A listener that was full tells of somebody who wants all of it. */
export function judgeCrowds(crowds: readonly (Crowd & { readonly door: string })[], now: number): Finding {
  for (const { door, full, closed } of crowds) {
    if (full === undefined || now - full.at > DAY_MS) continue
    const when = formatDuration(Math.ceil(Math.max(1, now - full.at) / MINUTE_MS) * MINUTE_MS)
    const many = closed.strangers + closed.tokens
    return {
      verdict: 'warning',
      finding: `the ${door} listener was full within the last ${when}, mostly of ${full.by}; ${many} connection(s) closed to make room`,
      remedy: full.by.startsWith('token') ? 'prefect-auth token ls' : 'prefect-auth audit --since 1h',
    }
  }
  const open = crowds.flatMap(({ tokens }) => tokens).reduce((sum, [, count]) => sum + count, 0)
  return { verdict: 'ok', finding: `${open} with a token; no listener was full` }
}
