/** The simulator's own clock: it runs with the machine's, or stands still, and tests move it. */

export interface SimClock {
  /** Simulated wall time, epoch ms. */
  now(): number
  /** Moves the time by `ms`, which may be negative. */
  advance(ms: number): void
  /** Makes it `epochMs` now. */
  set(epochMs: number): void
}

export interface ClockOptions {
  /** Epoch ms at the start; default: the machine's time. */
  readonly start?: number
  /** True: time passes only by `advance` and `set`. Default false. */
  readonly frozen?: boolean
}

/** Makes a clock; `machineNow` is what makes an unfrozen one run. */
export function createSimClock({
  start,
  frozen = false,
  machineNow = Date.now,
}: ClockOptions & { readonly machineNow?: () => number } = {}): SimClock {
  const born = machineNow()
  const base = () => (frozen ? born : machineNow())
  let offset = start === undefined ? 0 : start - born
  return {
    now: () => base() + offset,
    advance(ms) {
      offset += ms
    },
    set(epochMs) {
      offset = epochMs - base()
    },
  }
}
