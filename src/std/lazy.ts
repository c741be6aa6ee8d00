/** A value that is made at its first use. */

/** Returns the function that makes the value when it is first called, and returns that same value from then on. */
export function lazy<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}
