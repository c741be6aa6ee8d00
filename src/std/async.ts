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

export interface Serial {
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

/** Runs `work` in its turn, once for all who ask before it begins; whoever asks later gets a run of their own. */
export function createShared(serial: Serial, work: () => Promise<void>): () => Promise<void> {
  let next: Promise<void> | undefined
  return () => {
    next ??= serial.run(() => {
      next = undefined
      return work()
    })
    return next
  }
}

/**
 * Hands `work` everything that was given before its turn came, in order and together; what follows something of another
 * kind waits for a turn of its own. The result settles as that `work` does.
 */
export function createBatches<Kind, Item>(
  serial: Serial,
  work: (kind: Kind, items: readonly Item[]) => Promise<void>,
): (kind: Kind, item: Item) => Promise<void> {
  let open: { readonly kind: Kind; readonly items: Item[]; readonly done: Promise<void> } | undefined
  return (kind, item) => {
    if (open?.kind !== kind) {
      const items: Item[] = []
      const done = serial.run(() => {
        if (open?.items === items) open = undefined
        return work(kind, items)
      })
      open = { kind, items, done }
    }
    open.items.push(item)
    return open.done
  }
}
