/** Which requests change something, beyond the bookkeeping of runs: by the operation, and for two of them by the body. Pure. */
import type { Effect } from '../wire/kinds.js'
import { SET_STATE } from './operations.js'

/** Of a request that was admitted. */
export interface Changing {
  readonly method: string
  readonly operation: string
  /** Absent: the operation is not in the table. */
  readonly effect?: Effect
}

/** `by body`: only if `isMoreThanBookkeeping` says so of its body. */
export type Changes = 'yes' | 'no' | 'by body'

/** What questions and budgets call a write. */
export function changesOf(facts: Changing): Changes {
  if (facts.effect === 'works') return BY_BODY.has(facts.operation) ? 'by body' : 'no'
  return isRead(facts) ? 'no' : 'yes'
}

type Body = Readonly<Record<string, unknown>>

/**
 * For an operation that is bookkeeping or more, depending on its body. `undefined`: the body is no JSON to us, but may be to
 * Prefect, which takes NaN; no run sends such a body.
 */
export function isMoreThanBookkeeping(operation: string, body: Body | undefined): boolean {
  return body === undefined || BY_BODY.get(operation)?.(body) === true
}

const BY_BODY: ReadonlyMap<string, (body: Body) => boolean> = new Map([
  ['POST /flow_runs/', startsElsewhere],
  [SET_STATE, isCancelOrRerun],
])

/** A flow registers its own runs. With these fields it is a worker that will start the run. */
function startsElsewhere(body: Body): boolean {
  return ELSEWHERE.some((name) => body[name] !== undefined && body[name] !== null)
}

const ELSEWHERE = ['deployment_id', 'work_pool_name', 'work_queue_name', 'work_queue_id']

/**
 * What only people and their programs send. Runs and runners end a run as CANCELLED; a run that is told to end itself forces
 * CANCELLING before that; one that is handed back, as its machine goes away, is set to AwaitingRetry, never by force.
 */
function isCancelOrRerun({ state, force = false }: Body): boolean {
  if (!isObject(state)) return false
  const { type, name } = state
  // Runners end what has this name, whatever its type.
  if (type === 'CANCELLED') return name === 'Cancelling'
  if (type === 'CANCELLING') return force !== true
  return type === 'SCHEDULED' && (force !== false || name !== 'AwaitingRetry')
}

function isRead({ method, effect }: Changing): boolean {
  if (effect !== undefined) return effect === 'reads'
  return method === 'HEAD' || method === 'OPTIONS'
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
