/** One attempt to renew one key: finish what was begun, ask Prefect about the key, then make a new one. */
import { BrokerError, type ErrorCode, isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import { type Journal, pendingRotations, rotationsOf } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyRecord } from '../keys/ledger.js'
import { type KeyRotator, unsettled } from '../keys/rotate.js'
import { isEnded } from '../keys/verdict.js'
import type { Verdicts } from '../keys/verdicts.js'
import type { Document } from '../os/document.js'
import { type CloudApi, verifyKey } from '../prefect/cloud.js'
import type { ServerTimes } from '../prefect/server-time.js'
import { shownName } from '../profiles/bundled.js'
import type { Credentials } from '../serve/credentials.js'
import { SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { loginCommand, quoteWord } from '../std/text.js'
import { describeSetback, type Setback } from './backoff.js'
import { type CurrentKey, findHeldKey, isDue } from './due.js'

export type Attempt =
  /** `record`: the new key; absent if it was promoted by a recovery and is gone again. */
  | { readonly kind: 'renewed'; readonly record?: KeyRecord }
  /** `current`: the key as looked up after Prefect was asked. */
  | { readonly kind: 'not_due'; readonly current?: CurrentKey }
  /** Prefect does not accept the key: it is doubted, or rejected. */
  | { readonly kind: 'refused' }

interface RenewalAttempts {
  /**
   * `current`: the profile's key as just looked up. Rejects with the cause (`login_required` without a key, `owner_mismatch`,
   * or as `CloudApi`, `Vault` and `KeyRotator` do); the old key is served on.
   */
  run(profile: string, current: CurrentKey | undefined, how: { readonly isForced: boolean }): Promise<Attempt>
  /** Brings what is served up to date, and announces the new key. */
  announce(profile: string, record: KeyRecord | undefined): Promise<void>
  /** Notes a failure in the ledger and announces it. `delay`: ms until the next attempt. Never rejects. */
  fail(
    profile: string,
    failure: { readonly error: unknown; readonly setback: Setback; readonly delay: number },
  ): Promise<void>
  /** Whether a rotation of the profile was begun and is not finished. */
  isPending(profile: string): boolean
  /** How many keys may live at Prefect that we do not hold. */
  lostKeys(profile: string): number
}

export function createRenewalAttempts({
  keeper,
  credentials,
  cloud,
  rotator,
  journal,
  events,
  verdicts,
  times,
  settle,
  log,
}: {
  readonly keeper: KeyKeeper
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly rotator: KeyRotator
  readonly journal: Document<Journal>
  readonly events: Events
  readonly verdicts: Pick<Verdicts, 'end'>
  readonly times: ServerTimes
  readonly settle: () => Promise<void>
  readonly log: Log
}): RenewalAttempts {
  const find = (profile: string) => findHeldKey({ keeper, credentials }, profile)
  const isPending = (profile: string) =>
    pendingRotations(journal.read(), profile, keeper.profile(profile).currentItem).length > 0

  /** Returns true if the recovery changed the current key. */
  async function recover(profile: string): Promise<boolean> {
    const before = keeper.current(profile)?.item
    await rotator.recover()
    if (keeper.current(profile)?.item !== before) return true
    if (isPending(profile)) throw unsettled(profile)
    return false
  }

  async function run(
    profile: string,
    found: CurrentKey | undefined,
    { isForced }: { readonly isForced: boolean },
  ): Promise<Attempt> {
    let current = found
    if (isPending(profile) && !rotator.isRotating(profile)) {
      if (await recover(profile)) {
        return { kind: 'renewed', ...defined({ record: keeper.current(profile) }) }
      }
      current = find(profile)
    }
    if (current === undefined) {
      throw new BrokerError('login_required', `profile ${shownName(profile)} has no stored key to renew`)
    }
    if ((await ask(profile, current)) === 'refused') return { kind: 'refused' }
    // Only now is the time known, and the key may have been replaced while Prefect was asked.
    const next = find(profile)
    if (!isForced && !isDue(next?.plan, times.of(current.record.cloudApiUrl).clock.now())) {
      return { kind: 'not_due', ...defined({ current: next }) }
    }
    const { fingerprint } = current.record
    events.emit('renewal.started', { profile, facts: { fingerprint } })
    return { kind: 'renewed', record: await rotator.rotate(profile, next?.record) }
  }

  /**
   * `refused`: Prefect said 401, or could not say but its own time is past the key's expiry. Rejects with every failure that
   * says nothing about the key, and with `owner_mismatch` if the key's owner has changed.
   */
  async function ask(profile: string, current: CurrentKey): Promise<'good' | 'refused'> {
    const { record, key } = current
    const { cloudApiUrl } = record
    // A key that was rejected and whose life is over does not come back.
    if (record.rejectedAt !== undefined && isEnded(record, times.of(cloudApiUrl))) return 'refused'
    try {
      const { owner, workspaces } = await verifyKey(cloud, { cloudApiUrl, key, profile })
      requireSameOwner(current, owner.id)
      // An empty list may be temporary: keep the names that are known.
      if (workspaces.length > 0) await keeper.note(record.profile, { workspaces })
      return 'good'
    } catch (error) {
      if (isBrokerError(error, ...NOT_ACCEPTED) && isEnded(record, times.of(cloudApiUrl))) {
        await verdicts.end(record)
        return 'refused'
      }
      if (isBrokerError(error, 'key_rejected')) return 'refused'
      throw error
    }
  }

  return {
    run,
    isPending,
    lostKeys: (profile) =>
      rotationsOf(journal.read(), profile, keeper.profile(profile).currentItem).filter(
        ({ step }) => step === 'lost',
      ).length,
    async announce(profile, record) {
      await settle()
      if (record === undefined) return
      const { fingerprint, expiresAt } = record
      const end = expiresAt === undefined ? {} : { expires_at: new Date(expiresAt).toISOString() }
      log.info({ profile, fingerprint, ...end }, 'key renewed')
      events.emit('renewal.done', { profile, facts: { fingerprint, ...end } })
    },
    async fail(profile, { error, setback, delay }) {
      if (setback === 'overtaken') return
      const { code, message } = describe(error, setback)
      events.emit('renewal.failed', {
        profile,
        facts: { code, message, setback, retry_in_s: Math.ceil(delay / SECOND_MS) },
      })
      const { cloudApiUrl = '' } = keeper.current(profile) ?? {}
      const lastRenewal = { at: times.of(cloudApiUrl).clock.now(), outcome: 'failed', code, message } as const
      await keeper
        .note(profile, { lastRenewal })
        .catch((failure: unknown) => log.warn({ profile, error: failure }, 'failed renewal not noted'))
    },
  }
}

function requireSameOwner({ owner, record }: CurrentKey, id: string): void {
  if (owner === undefined || owner.id === id) return
  throw new BrokerError(
    'owner_mismatch',
    `Prefect says that the key of profile ${shownName(record.profile)} belongs to someone else than before`,
    { hint: 'prefect-auth login --switch-owner' },
  )
}

/** Answers that are no acceptance; with a `Date` past the key's expiry, they are its end. */
const NOT_ACCEPTED: readonly ErrorCode[] = [
  'key_rejected',
  'prefect_failed',
  'prefect_rate_limited',
  'prefect_forbidden',
]

/** Prefect's refusal for who asked for a renewal. */
export function keyRefused(profile: string, isDoubted: boolean): BrokerError {
  const name = shownName(profile)
  if (!isDoubted) {
    return new BrokerError('key_rejected', `Prefect no longer accepts the key of profile ${name}`, {
      hint: loginCommand(profile),
    })
  }
  return new BrokerError(
    'key_rejected',
    `Prefect refused the key of profile ${name} just now; it is still served, and Prefect is asked again`,
    { hint: `in a few minutes: prefect-auth renew --now --profile ${quoteWord(profile)}` },
  )
}

function describe(error: unknown, setback: Setback): { readonly code: string; readonly message: string } {
  if (!(error instanceof BrokerError)) return { code: 'internal', message: 'an unexpected error' }
  return { code: error.code, message: describeSetback(setback, error) }
}
