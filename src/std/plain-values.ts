/** Kinds of values, and what plain code says of those that are not valid. */

/** Certainly not valid. */
export const REFUSED = Symbol('refused')
/** Plain code cannot tell. */
export const UNSURE = Symbol('unsure')

export function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

export function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

export function isPrimitive(value: unknown): boolean {
  return ['string', 'number', 'boolean'].includes(typeof value)
}
