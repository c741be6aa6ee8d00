/** V8's young garbage while large bodies pass: the buffers they came in, freed before the whole heap has to be looked at. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Less than V8 allows a small heap to grow by, before it marks all of it. */
const EVERY_BYTES = 4 * 1024 * 1024

/**
 * Call what it returns with the length of each piece of a streamed body, either way. Node reads each into memory of its own, which
 * V8 counts as growth of the heap. Few objects come with it, so its young generation is not full for long; and after an idle time,
 * when V8 has made the heap small, it marked all of it for every 15 MB of a body, which cost twice as much as to send them.
 */
export function createSweep(): (bytes: number) => void {
  let collect: (() => void) | undefined
  let passed = 0
  return (bytes) => {
    passed += bytes
    if (passed < EVERY_BYTES) return
    passed = 0
    // Not before the first large body: it takes a millisecond, and 0.3 MB.
    collect ??= findCollector()
    collect()
  }
}

/** V8 gives its collector only to contexts that are made while the flag is set: none of our own code has it as a global. */
function findCollector(): () => void {
  setFlagsFromString('--expose-gc')
  try {
    const found: unknown = runInNewContext('gc')
    if (typeof found !== 'function') return () => undefined
    return () => void Reflect.apply(found, undefined, [{ type: 'minor' }])
  } finally {
    setFlagsFromString('--no-expose-gc')
  }
}
