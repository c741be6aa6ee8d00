/** Pure: how long to wait before the next attempt. Exponential, capped, with full jitter. */

export interface BackoffPolicy {
  readonly firstMs: number
  readonly maxMs: number
}

/**
 * The delay before attempt `attempt + 1`, in milliseconds; `attempt` counts from 1. `random` is in [0, 1).
 * Full jitter keeps a fleet that failed together from retrying together.
 */
export function backoffMs(attempt: number, policy: BackoffPolicy, random: () => number): number {
  const ceiling = Math.min(policy.maxMs, policy.firstMs * 2 ** Math.min(attempt - 1, 40))
  return Math.round(ceiling * random())
}
