/** Names of policies and operations as people type them: parsed, or answered with the nearest known names. */
import { POLICY_NAMES, type PolicyName } from '../wire/kinds.js'
import { findOperation } from './matcher.js'
import { listOperations } from './operations.js'

/** The name that was typed, or the known names most like it, the nearest first. */
export type Named<T> =
  | { readonly kind: 'known'; readonly name: T }
  | { readonly kind: 'unknown'; readonly nearest: readonly T[] }

const MOST_NEAREST = 3
/** Longer than any operation; what is compared is bounded by it. */
const MOST_CHARACTERS = 120

export function parsePolicyName(text: string): Named<PolicyName> {
  const wanted = text.trim().toLowerCase()
  const name = POLICY_NAMES.find((known) => known === wanted)
  if (name !== undefined) return { kind: 'known', name }
  return { kind: 'unknown', nearest: nearestOf(wanted, POLICY_NAMES).slice(0, 1) }
}

/**
 * An operation as the table spells it. The method may be in lower case, a final slash is optional, and a part in braces may have
 * another name in braces or be a UUID. Nothing else is accepted in its place: `GET /flows/filter` does not mean
 * `GET /flows/{id}`.
 */
export function parseOperation(text: string): Named<string> {
  const [method = '', path = '', more] = text.trim().split(/\s+/)
  const isPath = path.startsWith('/') && more === undefined
  const name = isPath ? findOperation(method.toUpperCase(), path) : undefined
  const isMeant = name !== undefined && shapeOf(path) === shapeOf(name.slice(name.indexOf(' ') + 1))
  return isMeant ? { kind: 'known', name } : { kind: 'unknown', nearest: nearestOperations(text) }
}

const ANY = /\{[^/}]*\}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/gi

function shapeOf(path: string): string {
  return path.replace(ANY, '{}').replace(/\/$/, '')
}

/** Operations whose names are like `text`, the nearest first: three at most. */
export function nearestOperations(text: string): readonly string[] {
  const names = listOperations().map(([operation]) => operation)
  return nearestOf(text.trim().slice(0, MOST_CHARACTERS), names).slice(0, MOST_NEAREST)
}

/** The operation whose name is most like `text`. */
export function nearestOperation(text: string): string {
  return nearestOperations(text)[0] ?? ''
}

/** Those that hold `text` come first, the shortest before the others. */
function nearestOf<T extends string>(text: string, names: readonly T[]): readonly T[] {
  const wanted = comparable(text)
  const ranked = names.map((name) => {
    const candidate = comparable(name)
    const holds = wanted.length > 2 && candidate.includes(wanted)
    return { name, holds, distance: distanceOf(wanted, candidate) }
  })
  ranked.sort((a, b) => Number(b.holds) - Number(a.holds) || a.distance - b.distance)
  return ranked.map(({ name }) => name)
}

/** What does not tell operations apart is left out: case, names in braces, the slash at the end. */
function comparable(text: string): string {
  return text
    .toLowerCase()
    .replace(/\{[^}]*\}/g, '{}')
    .replace(/\/$/, '')
}

/** How many characters must be inserted, removed or replaced to turn one text into the other. */
function distanceOf(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, at) => at)
  for (let i = 1; i <= from.length; i += 1) {
    const above = row
    row = [i]
    for (let j = 1; j <= to.length; j += 1) {
      const replaced = (above[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1)
      row.push(Math.min(replaced, (above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1))
    }
  }
  return row[to.length] ?? 0
}
