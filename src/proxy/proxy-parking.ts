/**
 * Pure: what a Prefect client is told while its request can't be served. Prefect retries 429, 502, 503 and 408 five times;
 * a 503 with `Prefect-Maintenance: true` without an end (3.3.1 and later). A 401, 403 or 404 kills a worker.
 */
import { BrokerError, type ErrorCode } from '../base/errors.js'

/** Seconds; short, because whoever waits for it is a job that stands still. */
const RETRY_AFTER_S = 5
/** For whoever counts the answers, and gives up after six: two minutes instead of half of one. */
const COUNTED_RETRY_AFTER_S = 20

/** When to ask again, in seconds: by what the client says it is, as not every Prefect knows how to wait without counting. */
export function retryAfterS(userAgent: string | undefined): number {
  const [, major, minor, patch] = /^prefect\/(\d+)\.(\d+)\.(\d+)/.exec(userAgent ?? '') ?? []
  if (major === undefined) return RETRY_AFTER_S
  const version = [major, minor, patch].map(Number)
  const [isOld] = [3, 3, 1].flatMap((wanted, index) => {
    const has = version[index] ?? 0
    return has === wanted ? [] : [has < wanted]
  })
  return isOld === true ? COUNTED_RETRY_AFTER_S : RETRY_AFTER_S
}

/** What passes by itself or by a login, so that a job is better parked than killed. */
const PARKED: ReadonlySet<ErrorCode> = new Set([
  'login_required',
  'key_rejected',
  'key_host_mismatch',
  'vault_locked',
  'vault_unavailable',
  'vault_timeout',
  'vault_corrupt',
  'profile_not_found',
  'profile_not_cloud',
  'prefect_unreachable',
  'shutting_down',
])

export function isParked({ code }: BrokerError): boolean {
  return PARKED.has(code)
}

/** Prefect answered 401 to the key that we hold. */
export function keyRejected(profile: string): BrokerError {
  return new BrokerError('key_rejected', `Prefect does not accept the key of profile '${profile}'`, {
    hint: `prefect-auth login --profile ${profile}`,
  })
}

/** The request never reached Prefect, so that sending it again does nothing twice. */
export function unreachable(origin: string, cause: unknown): BrokerError {
  return new BrokerError('prefect_unreachable', `${origin} can't be reached (${reasonOf(cause)})`, {
    hint: 'prefect-auth doctor',
    cause,
  })
}

/** The request may have been processed: the client decides whether it asks again. */
export function brokenOff(origin: string, cause: unknown): BrokerError {
  return new BrokerError('prefect_failed', `${origin} did not answer in full (${reasonOf(cause)})`, { cause })
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return 'unknown'
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.name
}
