/** Keeps what a login delivers: the key in the vault, the URL in the profile, and a minted key in its place. */

import type { Audit } from '../audit/audit.js'
import { BrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { Changes } from '../keys/change.js'
import { plannedFromFile } from '../keys/from-file.js'
import type { ChangePlan, PlannedKey } from '../keys/intent.js'
import type { KeyKeeper, NewKey } from '../keys/keeper.js'
import { type KeyOrigin, type KeyRecord, keyFacts } from '../keys/ledger.js'
import type { KeyRotator } from '../keys/rotate.js'
import { type CloudDefaults, workspaceApiUrl } from '../prefect/cloud.js'
import type { ServerTimes } from '../prefect/server-time.js'
import type { ProfileEdit, ProfileReading } from '../profiles/profile.js'
import { resolveProfile } from '../profiles/resolve.js'
import { DAY_MS } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { KeepDelivery, LoginDelivery, LoginOutcome } from './login.js'
import { requireWritable } from './target.js'

interface AcceptLogin {
  readonly keep: KeepDelivery
}

interface AcceptLoginParts {
  readonly changes: Changes
  readonly keeper: KeyKeeper
  readonly defaults: CloudDefaults
  readonly rotator: KeyRotator
  readonly events: Events
  readonly audit: Audit
  readonly times: ServerTimes
  readonly log: Log
  readonly newId: () => string
  /** Brings the served credentials up to date. */
  readonly settle: () => Promise<void>
}

/**
 * Browser keys live 30 days and expire at midnight in an unknown time zone, so slightly less than 30 days is certain
 * (PrefectHQ/prefect docs/v3/how-to-guides/cloud/connect-to-cloud.mdx; docs/images/api-keys1.png).
 */
const ASSUMED_BROWSER_LIFE_MS = 29 * DAY_MS

export function createAcceptLogin({
  changes,
  keeper,
  defaults,
  rotator,
  events,
  audit,
  times,
  log,
  newId,
  settle,
}: AcceptLoginParts): AcceptLogin {
  /** The new key, and one of the file that it takes the place of: in the vault both, before the file is touched. */
  function plan(reading: ProfileReading, delivery: LoginDelivery): ChangePlan {
    // Checked before anything is stored: a key without the URL that belongs to it would go to the wrong workspace.
    requireWritable(reading)
    const { profile, cloudApiUrl, key, owner, workspaces, workspace, isToBeActive = false } = delivery
    const { file } = reading
    const now = times.of(cloudApiUrl).clock.now()
    const entry = file.profiles.get(profile)
    const url = { PREFECT_API_URL: workspaceApiUrl(cloudApiUrl, workspace) }
    // A plain-text key in the file is not the key just stored, and would hide it.
    const settings = entry?.apiKey === undefined ? url : { ...url, PREFECT_API_KEY: undefined }
    const edits: ProfileEdit[] = [{ kind: 'set', name: profile, settings }]
    if (isToBeActive) edits.push({ kind: 'set_active', name: profile })
    const planned: PlannedKey = { key, about: describe(delivery, `key-${newId()}`) }
    const written = entry && resolveProfile({ file, defaults, requested: profile })
    const replaced = written && plannedFromFile(written, { item: `key-${newId()}`, now })
    return {
      act: 'login',
      keys: replaced === undefined ? [planned] : [planned, replaced],
      edits,
      outcome: { promote: { profile, at: now, owner, workspaces } },
    }
  }

  function describe({ profile, cloudApiUrl, via, owner }: LoginDelivery, item: string): NewKey {
    const issuedAt = times.of(cloudApiUrl).clock.now()
    const expiry =
      via === 'browser' ? { expiresAt: issuedAt + ASSUMED_BROWSER_LIFE_MS, isExpiryAssumed: true } : {}
    const origin: KeyOrigin = owner.kind === 'service_account' ? 'service_account' : via
    // Whoever pasted it has it from somewhere else.
    const handedOut = via === 'pasted'
    return { item, profile, cloudApiUrl, origin, issuedAt, handedOut, ...expiry }
  }

  /** The login is done: it does not fail because its answer is late. */
  const settleLater = () =>
    settle().catch((error: unknown) => log.error({ error }, 'settling credentials failed'))

  /** If the exchange fails, the login does not: the delivered key works, and status shows the reason. */
  async function exchangeKey(profile: string, record: KeyRecord): Promise<LoginOutcome> {
    try {
      const minted = await rotator.rotate(profile, record)
      await settleLater()
      return { key: keyFacts(minted), exchange: { isDone: true, message: exchanged(record) } }
    } catch (error) {
      log.warn({ profile, error }, 'key exchange failed; the delivered key is kept')
      const message = notExchanged(record, error)
      await keeper
        .note(profile, { exchangeRefused: message })
        .catch((failure: unknown) => log.warn({ profile, error: failure }, 'refused exchange not noted'))
      await settleLater()
      const code = error instanceof BrokerError ? error.code : 'internal'
      events.emit('key.exchange_refused', { profile, facts: { code } })
      return { key: keyFacts(record), exchange: { isDone: false, message } }
    }
  }

  return {
    async keep(delivery) {
      const { profile, exchange } = delivery
      const { keys } = await changes.run([profile], (reading) => plan(reading, delivery))
      const [record] = keys
      if (record === undefined) throw new BrokerError('internal', 'a login stored no key')
      const { fingerprint, origin } = record
      events.emit('key.stored', { profile, facts: { fingerprint, origin } })
      audit.record({ action: 'login', outcome: 'done', door: 'daemon', profile, fingerprint })
      return exchange ? exchangeKey(profile, record) : { key: keyFacts(record) }
    },
  }
}

function exchanged({ fingerprint }: KeyRecord): string {
  return `the delivered key (${fingerprint}) was replaced by a minted one; Prefect does not report its id, so it is left to expire`
}

function notExchanged({ expiresAt }: KeyRecord, error: unknown): string {
  const reason = error instanceof BrokerError ? error.message : 'an unexpected error'
  const expiry =
    expiresAt === undefined ? '' : `, on about ${new Date(expiresAt).toISOString().slice(0, 10)} (assumed)`
  return `the delivered key is kept because it could not be exchanged: ${reason}; it works until it expires${expiry}`
}
