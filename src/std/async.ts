/** Same key while running, same promise: N callers cause one piece of work. */

export interface SingleFlight<T> {
  /** Runs `work` unless work under `key` is already under way; everyone gets that one outcome. */
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
