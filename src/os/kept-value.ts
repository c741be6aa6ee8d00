/** A value in memory with a copy on the disk: changes come one at a time, and those that wait together share one write. */

import { createBatches, createSerial } from '../std/async.js'

interface KeptValue<T> {
  read(): T
  /** See `Document.update`. */
  update(change: (current: T) => T): Promise<T>
  /** See `NotedDocument.note`. */
  note(change: (current: T) => T): Promise<boolean>
  /** Writes what the disk lacks. Never rejects. */
  retry(): Promise<void>
}

/** A change that waits for its turn. */
interface Waiting<T> {
  readonly change: (current: T) => T
  /** `failure`: why the disk does not have `value`. */
  readonly done: (value: T, failure: unknown) => void
  readonly fail: (error: unknown) => void
}

/**
 * `save` writes a value, or rejects; whatever a failed write has left on the disk, memory is written over it later.
 * `problem`: why the disk does not have `initial`; absent if it does.
 */
export function createKeptValue<T>(
  initial: T,
  save: (next: T) => Promise<void>,
  problem?: unknown,
): KeptValue<T> {
  let value = initial
  /** Why the disk does not have `value`. */
  let behind: { readonly failure: unknown } | undefined =
    problem === undefined ? undefined : { failure: problem }
  const serial = createSerial()

  const write = async (next: T): Promise<void> => {
    behind = await save(next).then(
      () => undefined,
      (failure: unknown) => ({ failure }),
    )
  }

  const take = createBatches(serial, async (kind: 'update' | 'note', batch: readonly Waiting<T>[]) => {
    const before = value
    const results = applied(before, batch)
    const next = results.at(-1)?.value ?? before
    if (kind === 'note') value = next
    if (next !== before) await write(next)
    if (behind === undefined) value = next
    for (const { waiting, value: own, error } of results) {
      if (error !== undefined) waiting.fail(error.cause)
      // What is as it was needs no write.
      else waiting.done(own, kind === 'update' && own === before ? undefined : behind?.failure)
    }
  })

  return {
    read: () => value,
    update: (change) =>
      new Promise((resolve, reject) => {
        const done = (next: T, failure: unknown) => (failure === undefined ? resolve(next) : reject(failure))
        void take('update', { change, done, fail: reject })
      }),
    note: (change) =>
      new Promise((resolve, reject) => {
        const done = (_: T, failure: unknown) => resolve(failure === undefined)
        void take('note', { change, done, fail: reject })
      }),
    retry: () =>
      serial.run(async () => {
        if (behind !== undefined) await write(value)
      }),
  }
}

interface Result<T> {
  readonly waiting: Waiting<T>
  /** After this change, or the last one before it that did not throw. */
  readonly value: T
  /** What the change threw. */
  readonly error?: { readonly cause: unknown }
}

/** Each change over the one before it; one that throws changes nothing. */
function applied<T>(before: T, batch: readonly Waiting<T>[]): readonly Result<T>[] {
  let value = before
  return batch.map((waiting) => {
    try {
      value = waiting.change(value)
      return { waiting, value }
    } catch (cause) {
      return { waiting, value, error: { cause } }
    }
  })
}
