/** When a key is renewed, or why it cannot be and what to do about it; and when to warn. Pure. */
import type { KeyRecord, LastRenewal } from '../keys/ledger.js'
import type { Owner } from '../prefect/cloud.js'
import { DAY_MS, MINUTE_MS } from '../std/clock.js'
import { sha256Hex } from '../std/secret.js'
import { loginCommand, quoteWord } from '../std/text.js'

export type RenewalPlan =
  /** `at`: epoch ms. */
  | { readonly kind: 'renew'; readonly at: number }
  | { readonly kind: 'not_renewable'; readonly why: string; readonly hint: string }
  | { readonly kind: 'not_needed'; readonly why: string }

interface RenewalInputs {
  readonly record: KeyRecord
  readonly owner?: Owner
  /** In [0, 1): how much earlier than the latest moment. See `jitterOf`. */
  readonly jitter: number
  /** How the last attempt for this profile ended. */
  readonly last?: LastRenewal
  /** The share whose machines rotate it. */
  readonly share?: string
}

/** Codes of `last` that mean: Prefect does not let this key mint another, and asking again soon is pointless. */
const REFUSALS: readonly string[] = ['key_minting_refused', 'prefect_forbidden', 'owner_mismatch']

/**
 * A key with known expiry: after 2/3 of its life, at most 1/15 of its life earlier (of 30 days: day 18 to 20). A browser key
 * that was never exchanged: at once; one whose exchange Prefect refused: after 2/3 of its assumed life. After a renewal at
 * least 1/20 of what the key had left passes: a key that is due when it is minted must not be replaced endlessly.
 */
export function planRenewal({ record, owner, jitter, last, share }: RenewalInputs): RenewalPlan {
  const { issuedAt, expiresAt } = record
  const obstacle = findObstacle(record, owner, share)
  if (obstacle !== undefined) return obstacle
  if (expiresAt === undefined) return { kind: 'not_needed', why: 'the key does not expire' }
  const life = Math.max(0, expiresAt - issuedAt)
  const late = Math.round(issuedAt + (life * 2) / 3 - (jitter * life) / 15)
  const at = record.origin === 'browser' && !wasRefused(record, last) ? issuedAt : late
  const earliest =
    last?.outcome === 'done' ? last.at + leastInterval(expiresAt - last.at) : Number.NEGATIVE_INFINITY
  return { kind: 'renew', at: Math.max(at, earliest) }
}

/** Between two renewals of one profile, ms; `leftMs`: what the key had left when it was minted. */
function leastInterval(leftMs: number): number {
  return Math.max(MINUTE_MS, leftMs / 20)
}

function wasRefused({ issuedAt }: KeyRecord, last: LastRenewal | undefined): boolean {
  return last !== undefined && last.at >= issuedAt && REFUSALS.includes(last.code ?? '')
}

function findObstacle(
  record: KeyRecord,
  owner: Owner | undefined,
  share: string | undefined,
): RenewalPlan | undefined {
  const { origin, profile, rejectedAt } = record
  const login = loginCommand(profile)
  if (share !== undefined)
    return impossible(
      `it is the key of share ${share}, which its machines rotate`,
      'prefect-auth share status',
    )
  if (rejectedAt !== undefined) return impossible('Prefect no longer accepts the key', login)
  switch (origin) {
    case 'minted':
    case 'browser':
      if (owner?.kind === 'user') return undefined
      return impossible('the owner of the key is not known, and keys are minted for their owner', login)
    case 'service_account':
      return impossible(
        "it is a service account's key: only an owner of the account can rotate it",
        `prefect-auth service-account rotate NAME --profile ${quoteWord(profile)}`,
      )
    case 'pasted':
    case 'profile':
      return impossible(
        `the key was ${origin === 'pasted' ? 'pasted' : 'taken from profiles.toml'}: its expiry is not known, and it is replaced only on request`,
        `${login} --exchange`,
      )
  }
}

function impossible(why: string, hint: string): RenewalPlan {
  return { kind: 'not_renewable', why, hint }
}

/** In [0, 1), always the same for an item: the moment of its renewal does not move. */
export function jitterOf(item: string): number {
  return Number.parseInt(sha256Hex(item).slice(0, 8), 16) / 2 ** 32
}

/** Days before expiry; 0 is the expiry itself. */
export const WARNING_DAYS = [7, 3, 1, 0] as const
type WarningDays = (typeof WARNING_DAYS)[number]

/**
 * The most urgent threshold that has passed without a warning. Thresholds above a third of the key's life are skipped: a key
 * of one day is no emergency when it is new.
 */
export function planWarning(
  { issuedAt, expiresAt, warned }: Pick<KeyRecord, 'issuedAt' | 'expiresAt' | 'warned'>,
  now: number,
): WarningDays | undefined {
  if (expiresAt === undefined) return undefined
  const passed = thresholds(issuedAt, expiresAt).filter((days) => now >= expiresAt - days * DAY_MS)
  const urgent = passed.at(-1)
  // A warning given while the clock was wrong does not count.
  const said = passed.find((days) => days === warned)
  return urgent === undefined || (said !== undefined && said <= urgent) ? undefined : urgent
}

/** When further warnings are given, epoch ms. */
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
