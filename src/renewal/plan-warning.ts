/** Pure: which warning of a key's end is due now, so that each is said once. */
import type { KeyRecord } from '../keys/ledger.js'

const DAY_MS = 24 * 3_600_000

/** Days before the expiry; 0 is the expiry itself. */
export const WARNING_DAYS = [7, 3, 1, 0] as const
export type WarningDays = (typeof WARNING_DAYS)[number]

/**
 * The most urgent threshold that is passed and not said yet. Thresholds above a third of the key's life are skipped: a key of
 * one day is no emergency from its birth.
 */
export function planWarning(
  { issuedAt, expiresAt, warned }: Pick<KeyRecord, 'issuedAt' | 'expiresAt' | 'warned'>,
  now: number,
): WarningDays | undefined {
  if (expiresAt === undefined) return undefined
  const passed = thresholds(issuedAt, expiresAt).filter((days) => now >= expiresAt - days * DAY_MS)
  const urgent = passed.at(-1)
  // What was said while the clock was wrong does not count.
  const said = passed.find((days) => days === warned)
  return urgent === undefined || (said !== undefined && said <= urgent) ? undefined : urgent
}

/** The moments at which further warnings come, epoch ms. */
export function warningsAfter(
  { issuedAt, expiresAt }: Pick<KeyRecord, 'issuedAt' | 'expiresAt'>,
  now: number,
): readonly number[] {
  if (expiresAt === undefined) return []
  return thresholds(issuedAt, expiresAt)
    .map((days) => expiresAt - days * DAY_MS)
    .filter((at) => at > now)
}

function thresholds(issuedAt: number, expiresAt: number): readonly WarningDays[] {
  return WARNING_DAYS.filter((days) => days * DAY_MS <= (expiresAt - issuedAt) / 3)
}
