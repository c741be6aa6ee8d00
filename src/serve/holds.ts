/** Answers that stay as they are while a change is under way. */

import type { Held } from '../keys/change.js'
import type { Ledger } from '../keys/ledger.js'
import type { ProfileFile } from '../profiles/profile.js'

interface Hold {
  /** What the answer is made of if there was none. */
  readonly file: ProfileFile
  readonly ledger: Ledger
  /** Whether the next settling shows what has changed. */
  isEnding: boolean
  /** Whether nobody knows when it ends. */
  isLasting: boolean
  /** Resolves when it ends, or lasts. */
  readonly over: Promise<void>
  readonly wake: () => void
}

export interface Holds {
  of(profile: string): Hold | undefined
  isEmpty(): boolean
  begin(profiles: readonly string[], file: ProfileFile, ledger: Ledger): Held
  /** The profiles whose answers stay. */
  kept(): readonly string[]
  /** Settles: `work` is given what ends the holds that are ending now. Then whoever waits for an end looks again. */
  settle(work: (end: () => void) => Promise<void>): Promise<void>
}

export function createHolds(): Holds {
  const holds = new Map<string, Hold>()
  return {
    of: (profile) => holds.get(profile),
    isEmpty: () => holds.size === 0,
    begin(profiles, file, ledger) {
      let wake = () => {}
      const over = new Promise<void>((resolve) => {
        wake = resolve
      })
      const hold: Hold = { file, ledger, isEnding: false, isLasting: false, over, wake }
      for (const name of profiles) holds.set(name, hold)
      return {
        end() {
          hold.isEnding = true
        },
        last() {
          hold.isLasting = true
          wake()
        },
      }
    },
    kept: () => [...holds].flatMap(([name, { isEnding }]) => (isEnding ? [] : [name])),
    async settle(work) {
      const ending = [...holds].filter(([, { isEnding }]) => isEnding)
      try {
        await work(() => {
          for (const [name, hold] of ending) if (holds.get(name) === hold) holds.delete(name)
        })
      } finally {
        // Also if it could not end: then they hear what is wrong.
        for (const [, { wake }] of ending) wake()
      }
    },
  }
}
