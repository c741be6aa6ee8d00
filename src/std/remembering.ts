/** What is made of an object that never changes: made once, and kept as long as the object is. What throws is kept by nothing. */

export function remembering<From extends object, To>(make: (from: From) => To): (from: From) => To {
  const made = new WeakMap<From, { readonly of: To }>()
  return (from) => {
    const known = made.get(from)
    if (known !== undefined) return known.of
    const of = make(from)
    made.set(from, { of })
    return of
  }
}
