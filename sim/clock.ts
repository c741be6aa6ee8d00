/** The simulator's clock: follows the machine's or is frozen, and tests move it. */

export interface SimClock {
  /** Simulated wall time, epoch ms. */
  now(): number
  /** Moves time by `ms`, which may be negative. */
  advance(ms: number): void
  /** Sets the time, epoch ms. */
  set(epochMs: number): void
}

export interface ClockOptions {
  /** Epoch ms at the start; default: the machine's time. */
  readonly start?: number
  /** If true, only `advance` and `set` move time. Default false. */
  readonly frozen?: boolean
  /** How fast time passes; default: 1, as on the machine. */
  readonly speed?: number
}

/** Creates a clock; `machineNow` drives one that is not frozen. */
export function createSimClock({
  start,
  frozen = false,
  speed = 1,
  machineNow = Date.now,
}: ClockOptions & { readonly machineNow?: () => number } = {}): SimClock {
  const born = machineNow()
  const base = () => (frozen ? born : born + (machineNow() - born) * speed)
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
