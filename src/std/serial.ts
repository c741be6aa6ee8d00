/** One at a time, in order: the turnstile in front of anything that reads, decides and writes. */

export interface Serial {
  /** Runs `work` after all work handed in before it has settled. */
  run<T>(work: () => Promise<T>): Promise<T>
}

export function createSerial(): Serial {
  let last: Promise<unknown> = Promise.resolve()
  return {
    run(work) {
      const result = last.then(work, work)
      last = result.catch(() => undefined)
      return result
    },
  }
}
