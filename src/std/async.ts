/** Work shared by callers of one key, and work done one piece at a time. */

interface SingleFlight<T> {
  /** Runs `work` unless work under `key` is under way; every caller gets that one outcome. */
  run(key: string, work: () => Promise<T>): Promise<T>
  isRunning(key: string): boolean
}

export function createSingleFlight<T>(): SingleFlight<T> {
  const flights = new Map<string, Promise<T>>()
  return {
    run(key, work) {
      const running = flights.get(key)
      if (running) return running
      const flight = (async () => work())().finally(() => flights.delete(key))
      flights.set(key, flight)
      return flight
    },
    isRunning: (key) => flights.has(key),
  }
}

interface Serial {
  /** Runs `work` after all work handed in earlier has settled. */
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
