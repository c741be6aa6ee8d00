/** Pure: when a key is renewed, or why it can't be and what a person can do about it. */
import type { KeyRecord, LastRenewal } from '../keys/ledger.js'
import type { Owner } from '../prefect/cloud.js'
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
  /** In [0, 1): how much earlier than at the latest moment. See `jitterOf`. */
  readonly jitter: number
  /** How the last attempt for this profile ended. */
  readonly last?: LastRenewal
}

/** What `last.code` says where Prefect will not let this key mint another: asking again soon is of no use. */
const REFUSALS: readonly string[] = ['key_minting_refused', 'prefect_forbidden', 'owner_mismatch']

const MINUTE_MS = 60_000

/**
 * A key with known expiry: when 2/3 of its life is over, at most 1/15 of its life earlier (of 30 days: day 18 to 20). A
 * browser key that was never exchanged: at once; one whose exchange Prefect refused: after 2/3 of its assumed life. Never
 * sooner after the last renewal than 1/20 of what was left then: a key that is due when it comes must not be replaced for ever.
 */
export function planRenewal({ record, owner, jitter, last }: RenewalInputs): RenewalPlan {
  const { issuedAt, expiresAt } = record
  const obstacle = findObstacle(record, owner)
  if (obstacle !== undefined) return obstacle
  if (expiresAt === undefined) return { kind: 'not_needed', why: 'the key does not expire' }
  const life = Math.max(0, expiresAt - issuedAt)
  const late = Math.round(issuedAt + (life * 2) / 3 - (jitter * life) / 15)
  const at = record.origin === 'browser' && !wasRefused(record, last) ? issuedAt : late
  const earliest =
    last?.outcome === 'done' ? last.at + leastInterval(expiresAt - last.at) : Number.NEGATIVE_INFINITY
  return { kind: 'renew', at: Math.max(at, earliest) }
}

/** Between two renewals of one profile, ms; `leftMs`: what the key had left when it came. */
function leastInterval(leftMs: number): number {
  return Math.max(MINUTE_MS, leftMs / 20)
}

function wasRefused({ issuedAt }: KeyRecord, last: LastRenewal | undefined): boolean {
  return last !== undefined && last.at >= issuedAt && REFUSALS.includes(last.code ?? '')
}

function findObstacle(record: KeyRecord, owner: Owner | undefined): RenewalPlan | undefined {
  const { origin, profile, rejectedAt } = record
  const login = loginCommand(profile)
  if (rejectedAt !== undefined) return impossible('Prefect no longer accepts the key', login)
  switch (origin) {
    case 'minted':
    case 'browser':
      if (owner?.kind === 'user') return undefined
      return impossible("whose key it is is not known, and only its owner's keys can be minted", login)
    case 'service_account':
      return impossible(
        "it is a service account's key: only an owner of the account can rotate it",
        `prefect-auth keys rotate-service-account NAME --profile ${quoteWord(profile)}`,
      )
    case 'pasted':
    case 'profile':
      return impossible(
        `the key was ${origin === 'pasted' ? 'pasted' : 'taken from profiles.toml'}: when it expires is not known, and it is replaced only when asked`,
        `${login} --exchange`,
      )
  }
}

function impossible(why: string, hint: string): RenewalPlan {
  return { kind: 'not_renewable', why, hint }
}

/** In [0, 1), the same at every look: the moment of a renewal does not move while one waits for it. */
export function jitterOf(item: string): number {
  return Number.parseInt(sha256Hex(item).slice(0, 8), 16) / 2 ** 32
}

const DAY_MS = 24 * 3_600_000

/** Days before the expiry; 0 is the expiry itself. */
export const WARNING_DAYS = [7, 3, 1, 0] as const
type WarningDays = (typeof WARNING_DAYS)[number]

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
