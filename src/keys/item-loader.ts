/** Loads vault items side by side, within one deadline: a vault that hangs holds up its own items only. */
import { BrokerError } from '../base/errors.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import type { Secret } from '../std/secret.js'

/** What memory has for an item. */
export type HeldSecret =
  | { readonly kind: 'held'; readonly secret: Secret; readonly apiUrl: string }
  | { readonly kind: 'missing' }
  | { readonly kind: 'failed'; readonly error: BrokerError }

/** A keychain takes a process for each. */
const READERS = 4
/** For all items together. A read that has begun then has the vault's own deadline. */
const ALL_WITHIN_MS = 10 * SECOND_MS
/** What was read is shown this soon, although others are still being read. */
const SHOW_EVERY_MS = SECOND_MS / 4
const RETRY_MS = 2 * SECOND_MS

interface ItemLoader {
  /** Reads what is not held. Never rejects. After a load that is under way comes another one. */
  load(): Promise<void>
  /** Joins a load under way, or loads if the last one began two seconds ago. Returns true if there was a load. */
  retry(): Promise<boolean>
  /** What a load under way has not read yet will not be held. */
  interrupt(): void
}

interface ItemLoaderDependencies {
  readonly secrets: Map<string, HeldSecret>
  readonly wanted: () => readonly string[]
  /** Must not reject. */
  readonly read: (item: string) => Promise<HeldSecret>
  readonly show: () => void
  /** Deletes what is left to delete, after every load. Must not reject. */
  readonly bury: () => Promise<void>
  readonly clock: Clock
}

export function createItemLoader({
  secrets,
  wanted,
  read,
  show,
  bury,
  clock,
}: ItemLoaderDependencies): ItemLoader {
  let startedAt = Number.NEGATIVE_INFINITY
  let interruptions = 0
  let running: Promise<void> | undefined

  async function loadNow(): Promise<void> {
    startedAt = clock.monotonic()
    const before = interruptions
    let shownAt = startedAt
    const isHeld = (item: string) => secrets.get(item)?.kind === 'held'
    const queue = wanted().filter((item) => !isHeld(item))
    for (const item of queue) if (!secrets.has(item)) secrets.set(item, notRead(item))
    const reader = async (): Promise<void> => {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
        const isLate = clock.monotonic() - startedAt > ALL_WITHIN_MS
        const held = isLate ? notRead(item) : await read(item)
        // What was stored meanwhile is newer.
        if (interruptions === before && !isHeld(item)) secrets.set(item, held)
        if (clock.monotonic() - shownAt < SHOW_EVERY_MS) continue
        shownAt = clock.monotonic()
        show()
      }
    }
    await Promise.all(Array.from({ length: READERS }, reader))
    await bury()
    show()
  }

  function start(): Promise<void> {
    running ??= loadNow().finally(() => {
      running = undefined
    })
    return running
  }

  return {
    async load() {
      if (running !== undefined) await running
      await start()
    },
    async retry() {
      if (running === undefined && clock.monotonic() - startedAt <= RETRY_MS) return false
      await start()
      return true
    },
    interrupt() {
      interruptions += 1
    },
  }
}

/** What is held for an item until the vault has answered. */
function notRead(item: string): HeldSecret {
  const error = new BrokerError('vault_timeout', `cannot read '${item}': the vault has not answered yet`, {
    hint: 'prefect-auth doctor',
  })
  return { kind: 'failed', error }
}
