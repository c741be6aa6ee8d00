/** Objects whose absent values are absent: no key holds undefined. */

/** `T` without the keys that hold undefined: those that may are optional. */
type Defined<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>
} extends infer Flat
  ? { [K in keyof Flat]: Flat[K] }
  : never

/** A copy of `object` without the keys whose value is undefined. */
export function defined<T extends object>(object: T): Defined<T>
export function defined(object: object): object {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))
}
