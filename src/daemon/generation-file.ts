/**
 * A file beside the socket whose line changes whenever another pair may be the current one. A shell reads it before each prompt,
 * without starting a process; there is nothing secret in it.
 */
import { existsSync } from 'node:fs'
import type { Events } from '../base/events.js'
import { writeFileAtomic } from '../os/atomic-file.js'
import type { ServingCredentials } from '../serve/serve.js'
import { createSerial } from '../std/async.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import type { Log } from '../std/log.js'
import { sha256Hex } from '../std/secret.js'

type Source = Pick<ServingCredentials, 'settle' | 'state' | 'states'>

export interface GenerationFile {
  /** Writes the file again if it was removed; costs next to nothing if not. Never rejects. */
  look(): Promise<void>
  /** Resolves when every change so far is written, after 1 s at the latest: a stuck disk holds up no answer. Never rejects. */
  settled(): Promise<void>
  close(): Promise<void>
}

const SETTLE_MS = SECOND_MS

/** Follows the credentials until it is closed. A file that cannot be written is logged, and written at the next change. */
export function keepGenerationFile({
  path,
  credentials,
  events,
  clock,
  log,
}: {
  readonly path: string
  readonly credentials: Source
  readonly events: Pick<Events, 'onEvent'>
  readonly clock: Clock
  readonly log: Log
}): GenerationFile {
  const serial = createSerial()
  let written = ''
  const write = async () => {
    try {
      // Another profile may be the active one since a moment ago.
      await credentials.settle()
      const line = `1 ${digestOf(credentials)}\n`
      if (line === written && existsSync(path)) return
      await writeFileAtomic(path, line)
      written = line
    } catch (error) {
      log.warn({ path, error }, 'shells do not hear of the change')
    }
  }
  let pending = 0
  const hear = async () => {
    pending += 1
    await serial.run(write)
    pending -= 1
  }
  const stop = events.onEvent(({ type }) => {
    if (type === 'credentials.changed' || type === 'profiles.changed') void hear()
  })
  void hear()
  return {
    look: async () => {
      if (!existsSync(path)) await hear()
    },
    async settled() {
      if (pending === 0) return
      await new Promise<void>((resolve) => {
        const timer = clock.after(SETTLE_MS, resolve)
        void serial.run(async () => {
          timer.cancel()
          resolve()
        })
      })
    },
    async close() {
      stop()
      await serial.run(async () => undefined)
    },
  }
}

/** The same as long as the active profile and every generation are the same, over restarts as well. */
function digestOf(credentials: Source): string {
  const generations = credentials
    .states()
    .map(({ resolved, generation }) => [resolved.name, generation] as const)
  return sha256Hex(JSON.stringify([credentials.state().resolved.name, generations])).slice(0, 16)
}
