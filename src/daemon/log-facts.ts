/** Pure: log facts made fit to be written: errors whole, secrets out, nothing endless. */
import { scrub } from '../std/text.js'

const CENSORED = '[secret]'
const MAX_DEPTH = 8
const MAX_ITEMS = 100
const MAX_TEXT = 10_000

/** Names whose values are secrets wherever they stand, lower case without `_` and `-`. */
const SECRET_NAMES: ReadonlySet<string> = new Set([
  'apikey',
  'prefectapikey',
  'authstring',
  'prefectapiauthstring',
  'authorization',
  'proxyauthorization',
  'cookie',
  'setcookie',
  'key',
  'token',
  'secret',
  'password',
  'passphrase',
])

/** A copy of `facts` as plain JSON values. Never throws. */
export function cleanFacts(facts: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return cleanEntries(facts, 0)
}

function cleanEntries(value: object, depth: number): Record<string, unknown> {
  const clean: Record<string, unknown> = {}
  for (const name of Object.keys(value).slice(0, MAX_ITEMS))
    clean[scrub(name)] = cleanNamed(name, value, depth)
  return clean
}

function cleanNamed(name: string, owner: object, depth: number): unknown {
  try {
    const value: unknown = Reflect.get(owner, name)
    // `key: {…}` holds facts about a key; `key: "…"` is one.
    const isText = typeof value === 'string' || Array.isArray(value)
    if (isText && SECRET_NAMES.has(name.toLowerCase().replace(/[_-]/g, ''))) return CENSORED
    return clean(value, depth + 1)
  } catch {
    return '[unreadable]'
  }
}

function clean(value: unknown, depth: number): unknown {
  if (typeof value === 'string')
    return scrub(value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT)}…` : value)
  if (typeof value === 'bigint') return String(value)
  if (typeof value === 'function' || typeof value === 'symbol') return undefined
  if (typeof value !== 'object' || value === null) return value
  if (depth > MAX_DEPTH) return '[too deep]'
  if (value instanceof Error) return cleanError(value, depth)
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`
  if (Array.isArray(value)) return value.slice(0, MAX_ITEMS).map((item) => clean(item, depth + 1))
  if (value instanceof Map || value instanceof Set) return `[${value.size} items]`
  // Secret, Date and URL say themselves what they are in JSON.
  if ('toJSON' in value && typeof value.toJSON === 'function') return clean(value.toJSON(), depth + 1)
  return cleanEntries(value, depth)
}

/** Type, message, stack, every field of its own (code, hint, …) and the causes and parts, as deep as they go. */
function cleanError(error: Error, depth: number): Record<string, unknown> {
  const { name, message, stack, cause } = error
  const parts = error instanceof AggregateError ? { errors: clean(error.errors, depth + 1) } : {}
  return {
    ...cleanEntries(error, depth),
    type: scrub(name),
    message: scrub(message),
    ...(stack === undefined ? {} : { stack: scrub(stack) }),
    ...(cause === undefined ? {} : { cause: clean(cause, depth + 1) }),
    ...parts,
  }
}
