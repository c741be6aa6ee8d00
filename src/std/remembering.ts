/** What is made of an object that never changes: made once, and kept as long as the object is. */

export function remembering<From extends object, To>(make: (from: From) => To): (from: From) => To {
  const made = new WeakMap<From, { readonly of: To }>()
  return (from) => {
    const known = made.get(from) ?? { of: make(from) }
    made.set(from, known)
    return known.of
  }
}
