/** Who used which profile, in the audit log: a line at the first use, then one an hour while it goes on. */
import type { IncomingMessage } from 'node:http'
import type { Visitor } from './admit.js'
import type { ProxyDeps } from './deps.js'

const EVERY_MS = 3_600_000
const MAX_NOTES = 1_000

export function createUseNotes({ trail, clock }: Pick<ProxyDeps, 'trail' | 'clock'>) {
  const notes = new Map<string, number>()
  return (request: IncomingMessage, { caller }: Visitor, profile: string): void => {
    const name = `${caller.door} ${caller.token?.id ?? ''} ${profile}`
    const now = clock.monotonic()
    const last = notes.get(name)
    if (last !== undefined && now - last < EVERY_MS) return
    if (notes.size >= MAX_NOTES) notes.clear()
    notes.set(name, now)
    trail.done(request, caller, 'proxy', { profile })
  }
}
