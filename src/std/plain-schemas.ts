/**
 * In place of zod while a program starts: the same schemas, written down as they are made. They check in plain code what is
 * certainly valid, and certainly not; zod itself is loaded, and decides, for everything else and for every refusal.
 */

import { type Check, compileStep, type Shape, type Step, shapeOf } from './plain-checks.js'
import { isObject, isPlain, REFUSED, UNSURE } from './plain-values.js'

interface Schemas {
  /** What modules import as `z`. */
  readonly z: object
  /** The steps of a schema that was made here. */
  stepsOf(schema: unknown): Step | undefined
  /** What plain code says about a value: its value as it comes out, `undefined` in a list if it cannot tell or says no. */
  check(schema: unknown, value: unknown): Verdict
}

export type Verdict =
  | { readonly kind: 'valid'; readonly value: unknown }
  | { readonly kind: 'refused' }
  | { readonly kind: 'unsure' }

/** `load`: zod's `z`. `onMade`: told of every schema. */
export function createPlainSchemas(load: () => unknown, onMade: (schema: object) => void = () => undefined) {
  const steps = new WeakMap<object, Step>()
  const checks = new WeakMap<Step, Check>()
  const made = new WeakMap<Step, unknown>()
  const stepsOf = (value: unknown) => (isObject(value) ? steps.get(value) : undefined)
  const checkOf = (step: Step): Check => {
    const known = checks.get(step)
    if (known !== undefined) return known
    const check = compileStep(step, { checkOf, stepsOf })
    checks.set(step, check)
    return check
  }
  const realOf = (step: Step): unknown => {
    const known = made.get(step)
    if (known !== undefined) return known
    const from = step.of === undefined ? load() : realOf(step.of)
    const real = callPath(from, step.name, step.args.map(realArg))
    made.set(step, real)
    return real
  }
  const realArg = (arg: unknown): unknown => {
    const step = stepsOf(arg)
    if (step !== undefined) return realOf(step)
    if (Array.isArray(arg)) return arg.map(realArg)
    return isPlain(arg) ? mapValues(arg, realArg) : arg
  }
  const schemaOf = (step: Step): object => {
    const ask = (method: string, value: unknown) => callPath(realOf(step), method, [value])
    const safeParse = (value: unknown) => {
      const found = checkOf(step)(value)
      if (found === UNSURE) return ask('safeParse', value)
      if (found !== REFUSED) return { success: true, data: found }
      // Most callers only ask whether it is valid.
      return {
        success: false,
        get error() {
          return Reflect.get(Object(ask('safeParse', value)), 'error')
        },
      }
    }
    const parse = (value: unknown) => {
      const found = checkOf(step)(value)
      return found === UNSURE || found === REFUSED ? ask('parse', value) : found
    }
    const schema: object = new Proxy(Object.freeze({}), {
      get: (_target, name) => {
        if (name === 'safeParse') return safeParse
        if (name === 'parse') return parse
        if (name === 'shape') return shapeOf(step, stepsOf)
        // zod itself would take the schema apart, and find nothing in it.
        if (name === '_zod') throw new TypeError('a schema of another kind than zod')
        return typeof name === 'string' && name !== 'then'
          ? (...args: readonly unknown[]) => schemaOf({ of: step, name, args })
          : undefined
      },
    })
    steps.set(schema, step)
    onMade(schema)
    return schema
  }
  const begin = (path: string): unknown =>
    new Proxy(() => undefined, {
      get: (_target, name) => (typeof name === 'string' ? begin(`${path}.${name}`) : undefined),
      apply: (_target, _this, args: readonly unknown[]) => schemaOf({ name: path, args }),
    })
  const z: object = new Proxy(Object.freeze({}), {
    get: (_target, name) => {
      if (name === 'NEVER') return NEVER
      return typeof name === 'string' ? begin(name) : undefined
    },
  })
  return {
    z,
    stepsOf,
    check(schema, value) {
      const step = stepsOf(schema)
      const found = step === undefined ? UNSURE : checkOf(step)(value)
      if (found === REFUSED) return { kind: 'refused' }
      return found === UNSURE ? { kind: 'unsure' } : { kind: 'valid', value: found }
    },
  } satisfies Schemas
}

const NEVER = Object.freeze({ status: 'aborted' })

function mapValues(map: Shape, change: (value: unknown) => unknown): Shape {
  return Object.fromEntries(Object.entries(map).map(([name, value]) => [name, change(value)]))
}

/** Calls `from.a.b(...args)` for the path `a.b`. */
function callPath(from: unknown, path: string, args: readonly unknown[]): unknown {
  let owner: unknown
  let found = from
  for (const name of path.split('.')) {
    owner = found
    found = isObject(owner) ? Reflect.get(owner, name) : undefined
  }
  if (typeof found !== 'function') throw new TypeError(`zod has no ${path}`)
  return Reflect.apply(found, owner, args)
}
