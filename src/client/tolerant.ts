/** Answers with one odd field: read without the smallest part that does not fit, instead of not at all. */
import type { z } from 'zod'

/** More odd fields than this are another version, or no answer of ours. */
const MOST = 20

interface Tolerated<T> {
  readonly value: T
  /** Where the parts were that were left out: `proxy.0`. */
  readonly without: readonly string[]
}

/** `undefined` if the answer does not fit without parts that it must have. Leaves `answer` as it is. */
export function parseTolerantly<T>(schema: z.ZodType<T>, answer: unknown): Tolerated<T> | undefined {
  let rest = answer
  const without: string[] = []
  for (let tries = 0; tries <= MOST; tries += 1) {
    const parsed = schema.safeParse(rest)
    if (parsed.success) return { value: parsed.data, without }
    const path = parsed.error.issues[0]?.path ?? []
    const place = placeOf(rest, path)
    if (place.length === 0) return undefined
    without.push(place.join('.'))
    rest = leaveOut(rest, place)
  }
  return undefined
}

/** The innermost part on the way that is still there: a field that was left out and is missed takes its owner with it. */
function placeOf(answer: unknown, path: readonly PropertyKey[]): readonly string[] {
  const place: string[] = []
  let at = answer
  for (const key of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) break
    place.push(String(key))
    at = Reflect.get(at, key)
  }
  return place
}

function leaveOut(value: unknown, [key = '', ...rest]: readonly string[]): unknown {
  if (Array.isArray(value)) {
    const at = Number(key)
    if (rest.length === 0) return value.filter((_, index) => index !== at)
    return value.map((item, index) => (index === at ? leaveOut(item, rest) : item))
  }
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, inner]) => {
      if (name !== key) return [[name, inner]]
      return rest.length === 0 ? [] : [[name, leaveOut(inner, rest)]]
    }),
  )
}
