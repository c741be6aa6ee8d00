/** What a schema says about a value, in plain code as far as that is certain. Pure. */

import { isObject, isPlain, isPrimitive, REFUSED, UNSURE } from './plain-values.js'

/** A step in the making of a schema: `z.string`, or `.max(10)` of the step before. */
export interface Step {
  /** Absent: the step begins at `z`. */
  readonly of?: Step
  /** `string`, `iso.datetime`, `max`. */
  readonly name: string
  readonly args: readonly unknown[]
}

/** A value that is valid as it comes out, or one of the two below. */
export type Check = (value: unknown) => unknown

const unsure: Check = () => UNSURE

interface Making {
  checkOf(step: Step): Check
  stepsOf(value: unknown): Step | undefined
}

export function compileStep(step: Step, making: Making): Check {
  if (step.of === undefined) return BASES[step.name]?.(step.args, making) ?? unsure
  const before = making.checkOf(step.of)
  if (before === unsure && !STANDALONE.has(step.name)) return unsure
  return METHODS[step.name]?.(before, step, making) ?? unsure
}

const only = (isValid: (value: unknown) => boolean, otherwise = REFUSED): Check => {
  return (value) => (isValid(value) ? value : otherwise)
}

/** Texts of these forms are valid; of others, zod takes some. */
const form = (pattern: RegExp): Check => {
  return (value) => (typeof value !== 'string' ? REFUSED : pattern.test(value) ? value : UNSURE)
}

const UUID = /^[\da-f]{8}-[\da-f]{4}-[1-8][\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/
const BASE64 = /^(?:[A-Za-z\d+/]{4})*(?:[A-Za-z\d+/]{2}==|[A-Za-z\d+/]{3}=)?$/

const isTime = (text: string) => {
  const at = Date.parse(text)
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(text) && new Date(at).toISOString() === text
}

const BASES: Readonly<Record<string, (args: readonly unknown[], making: Making) => Check>> = {
  string: () => only((value) => typeof value === 'string'),
  number: () => only((value) => Number.isFinite(value)),
  int: () => only((value) => Number.isSafeInteger(value)),
  boolean: () => only((value) => typeof value === 'boolean'),
  unknown: () => only(() => true),
  uuid: () => form(UUID),
  base64: () => form(BASE64),
  'iso.datetime': ([options]) => {
    if (options !== undefined) return unsure
    return (value) => (typeof value !== 'string' ? REFUSED : isTime(value) ? value : UNSURE)
  },
  literal: ([wanted]) => (isPrimitive(wanted) ? only((value) => value === wanted) : unsure),
  enum: ([values]) => (Array.isArray(values) ? only((value) => values.includes(value)) : unsure),
  custom: ([isValid]) => {
    return typeof isValid === 'function'
      ? only((value) => Boolean(Reflect.apply(isValid, undefined, [value])))
      : unsure
  },
  array: ([item], making) => listOf(innerCheck(item, making)),
  record: ([key, value], making) => mapOf(innerCheck(key, making), innerCheck(value, making)),
  object: ([shape], making) => objectOf(shape, 'strip', making),
  strictObject: ([shape], making) => objectOf(shape, 'strict', making),
  looseObject: ([shape], making) => objectOf(shape, 'loose', making),
  union: ([options], making) => {
    return Array.isArray(options) ? firstOf(options.map((one) => innerCheck(one, making))) : unsure
  },
  discriminatedUnion: ([name, options], making) => {
    if (typeof name !== 'string' || !Array.isArray(options)) return unsure
    return choiceOf(name, options, making)
  },
}

/** They say what becomes of a value whatever the check before says. */
const STANDALONE: ReadonlySet<string> = new Set(['optional', 'exactOptional', 'default', 'nullable'])

/** `undefined` for a step that plain code cannot take. */
const METHODS: Readonly<Record<string, (before: Check, step: Step, making: Making) => Check | undefined>> = {
  min: (before, { args: [least] }) => sized(before, (size) => size >= Number(least)),
  max: (before, { args: [most] }) => sized(before, (size) => size <= Number(most)),
  length: (before, { args: [length] }) => sized(before, (size) => size === length),
  int: (before) =>
    then(
      before,
      only((value) => Number.isSafeInteger(value)),
    ),
  regex: (before, { args: [pattern] }) => {
    if (!(pattern instanceof RegExp) || pattern.global || pattern.sticky) return undefined
    return then(
      before,
      only((value) => typeof value === 'string' && pattern.test(value)),
    )
  },
  startsWith: (before, { args: [start] }) => {
    return then(
      before,
      only((value) => typeof value === 'string' && value.startsWith(String(start))),
    )
  },
  refine: (before, { args: [isValid] }) => {
    if (typeof isValid !== 'function') return undefined
    return then(
      before,
      only((value) => Boolean(Reflect.apply(isValid, undefined, [value]))),
    )
  },
  transform: (before, { args: [change] }) => then(before, (value) => transformed(change, value)),
  pipe: (before, { args: [next] }, making) => then(before, innerCheck(next, making)),
  nullable: (before) => (value) => (value === null ? null : before(value)),
  optional: (before) => (value) => (value === undefined ? undefined : before(value)),
  exactOptional: (before) => before,
  default: (before, { args: [fallback] }) => {
    return isPrimitive(fallback) ? (value) => (value === undefined ? fallback : before(value)) : undefined
  },
  catch: (before) => (value) => (before(value) === REFUSED ? UNSURE : before(value)),
  meta: (before) => before,
  extend: (_before, step, making) => {
    const shape = shapeOf(step, making.stepsOf)
    const { name } = baseOf(step)
    const kind = name === 'strictObject' ? 'strict' : name === 'looseObject' ? 'loose' : 'strip'
    return shape === undefined ? undefined : objectOf(shape, kind, making)
  },
}

function then(first: Check, second: Check): Check {
  return (value) => {
    const found = first(value)
    return found === REFUSED || found === UNSURE ? found : second(found)
  }
}

function sized(before: Check, fits: (size: number) => boolean): Check {
  return then(before, (value) => {
    const size = typeof value === 'string' || Array.isArray(value) ? value.length : value
    if (typeof size !== 'number') return UNSURE
    return fits(size) ? value : REFUSED
  })
}

/** As zod calls it, with a context that only knows whether there was a complaint. */
function transformed(change: unknown, value: unknown): unknown {
  if (typeof change !== 'function') return UNSURE
  let isRefused = false
  const context = {
    value,
    issues: [],
    addIssue: () => {
      isRefused = true
    },
  }
  const found: unknown = Reflect.apply(change, undefined, [value, context])
  if (isRefused || context.issues.length > 0) return REFUSED
  return found instanceof Promise ? UNSURE : found
}

function innerCheck(schema: unknown, { checkOf, stepsOf }: Making): Check {
  const step = stepsOf(schema)
  return step === undefined ? unsure : checkOf(step)
}

function listOf(item: Check): Check {
  return (value) => {
    if (!Array.isArray(value)) return REFUSED
    const items: unknown[] = []
    let isUnsure = false
    for (const one of value) {
      const found = item(one)
      if (found === REFUSED) return REFUSED
      if (found === UNSURE) isUnsure = true
      items.push(found)
    }
    return isUnsure ? UNSURE : items
  }
}

/** Of entries with string keys. */
function mapOf(key: Check, item: Check): Check {
  return (value) => {
    if (!isPlain(value)) return isObject(value) ? UNSURE : REFUSED
    const entries: [string, unknown][] = []
    for (const [name, one] of Object.entries(value)) {
      // zod drops it.
      if (name === '__proto__' || key(name) !== name) return UNSURE
      const found = item(one)
      if (found === REFUSED || found === UNSURE) return found
      entries.push([name, found])
    }
    return Object.fromEntries(entries)
  }
}

function firstOf(checks: readonly Check[]): Check {
  return (value) => {
    for (const check of checks) {
      const found = check(value)
      if (found !== REFUSED) return found
    }
    return REFUSED
  }
}

/** Chosen by the literal that each option has under this name. */
function choiceOf(name: string, options: readonly unknown[], making: Making): Check {
  const choices = new Map<unknown, Check>()
  for (const option of options) {
    const step = making.stepsOf(option)
    const shape = step && shapeOf(step, making.stepsOf)
    const word = making.stepsOf(shape?.[name])
    if (step === undefined || word?.name !== 'literal' || word.of !== undefined) return unsure
    choices.set(word.args[0], making.checkOf(step))
  }
  return (value) => {
    if (!isPlain(value)) return isObject(value) ? UNSURE : REFUSED
    return choices.get(Object.hasOwn(value, name) ? value[name] : undefined)?.(value) ?? REFUSED
  }
}

export type Shape = Readonly<Record<string, unknown>>

function baseOf(step: Step): Step {
  return step.of === undefined ? step : baseOf(step.of)
}

/** The fields of an object's schema, whatever was done to it since. */
export function shapeOf(step: Step, stepsOf: Making['stepsOf']): Shape | undefined {
  const [given] = step.args
  if (step.of === undefined) {
    const isObjectStep = ['object', 'strictObject', 'looseObject'].includes(step.name)
    return isObjectStep && isPlain(given) ? given : undefined
  }
  const before = shapeOf(step.of, stepsOf)
  return step.name === 'extend' && before !== undefined && isPlain(given) ? { ...before, ...given } : before
}

interface Field {
  readonly name: string
  readonly check: Check
  /** What an absent field comes out as; undefined: it stays absent. Without it, the field must be there. */
  readonly absent?: { readonly value: unknown }
}

function fieldsOf(shape: Shape, making: Making): readonly Field[] {
  return Object.entries(shape).map(([name, schema]) => {
    const check = innerCheck(schema, making)
    const last = lastStep(making.stepsOf(schema))
    if (last?.name === 'optional' || last?.name === 'exactOptional')
      return { name, check, absent: { value: undefined } }
    if (last?.name === 'default' && isPrimitive(last.args[0]))
      return { name, check, absent: { value: last.args[0] } }
    return { name, check }
  })
}

/** Without what says nothing about values. */
function lastStep(step: Step | undefined): Step | undefined {
  return step?.name === 'meta' ? lastStep(step.of) : step
}

function objectOf(given: unknown, kind: 'strip' | 'strict' | 'loose', making: Making): Check {
  if (!isPlain(given)) return unsure
  const fields = fieldsOf(given, making)
  const names = new Set(Object.keys(given))
  return (value) => {
    if (!isPlain(value)) return isObject(value) ? UNSURE : REFUSED
    const found: Record<string, unknown> = {}
    let isUnsure = false
    for (const { name, check, absent } of fields) {
      if (Object.hasOwn(value, name)) {
        const one = value[name] === undefined ? UNSURE : check(value[name])
        if (one === REFUSED) return REFUSED
        if (one === UNSURE) isUnsure = true
        found[name] = one
      } else if (absent === undefined) {
        if (check(undefined) === REFUSED) return REFUSED
        isUnsure = true
      } else if (absent.value !== undefined) found[name] = absent.value
    }
    for (const name of kind === 'strip' ? [] : Object.keys(value)) {
      if (names.has(name)) continue
      if (kind === 'strict') return REFUSED
      if (name === '__proto__') isUnsure = true
      else found[name] = value[name]
    }
    return isUnsure ? UNSURE : found
  }
}
