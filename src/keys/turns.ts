/** Turns: whatever changes a profile waits for what changes it already. */

export interface Turns {
  /** Runs `work` once everything handed in before for any of these profiles is over. Turns do not nest. */
  run<T>(profiles: readonly string[], work: () => Promise<T>): Promise<T>
  /** Whether somebody waits for the turn that is running. */
  isWanted(profile: string): boolean
}

export function createTurns(): Turns {
  const last = new Map<string, Promise<unknown>>()
  const queued = new Map<string, number>()
  const count = (profile: string, by: number) => {
    const next = (queued.get(profile) ?? 0) + by
    if (next === 0) queued.delete(profile)
    else queued.set(profile, next)
  }
  return {
    // All places in line are taken at once, so that no two turns wait for each other.
    run(profiles, work) {
      const names = [...new Set(profiles)]
      const result = Promise.all(names.map((name) => last.get(name))).then(work)
      const over = result
        .catch(() => undefined)
        .then(() => {
          for (const name of names) {
            count(name, -1)
            if (last.get(name) === over) last.delete(name)
          }
        })
      for (const name of names) {
        count(name, 1)
        last.set(name, over)
      }
      return result
    },
    isWanted: (profile) => (queued.get(profile) ?? 0) > 1,
  }
}
