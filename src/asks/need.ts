/** Which requests wait for a yes: by what the token asks for, and by what the operation does. Pure. */
import type { AskMode, Effect } from '../wire/kinds.js'

/** Of a request that was admitted. */
export interface NeedFacts {
  readonly method: string
  readonly operation: string
  /** Absent: the operation is not in the table. */
  readonly effect?: Effect
  /** Outside of every workspace the proxy forwards only what reads. */
  readonly isOutside: boolean
}

/** `by body`: only if `startsElsewhere` says so of its body. */
export type Need = 'yes' | 'no' | 'by body'

/** The bookkeeping of runs never waits: a parked lease renewal loses its slot, a parked heartbeat its worker. */
export function needFor(mode: AskMode, facts: NeedFacts): Need {
  if (facts.effect === 'works') return facts.operation === 'POST /flow_runs/' ? 'by body' : 'no'
  return mode === 'all' || !isRead(facts) ? 'yes' : 'no'
}

/**
 * A flow registers its own runs with `POST /flow_runs/`. With these fields it is a worker that will start the run, as with
 * `create_flow_run` of a deployment. `undefined`: the body is no JSON to us, but may be to Prefect, which takes NaN.
 */
export function startsElsewhere(body: Readonly<Record<string, unknown>> | undefined): boolean {
  if (body === undefined) return true
  return ELSEWHERE.some((name) => body[name] !== undefined && body[name] !== null)
}

const ELSEWHERE = ['deployment_id', 'work_pool_name', 'work_queue_name', 'work_queue_id']

function isRead({ method, effect, isOutside }: NeedFacts): boolean {
  if (effect !== undefined) return effect === 'reads'
  return isOutside || method === 'HEAD' || method === 'OPTIONS'
}

/** The token's own mode, or that of a profile that the owner has marked. */
export function modeOf(
  token: { readonly ask?: AskMode },
  profile: string,
  marked: readonly string[],
): AskMode | undefined {
  return token.ask ?? (marked.includes(profile) ? 'write' : undefined)
}
