/** Keeps what a login delivers: the key in the vault, the URL in the profile, and a minted key in its place. */

import type { Audit } from '../audit/audit.js'
import { BrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import { dropEntry, type Journal, type LoginEntry, writeEntry } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type KeyOrigin, type KeyRecord, keyFacts } from '../keys/ledger.js'
import type { KeyRotator } from '../keys/rotate.js'
import type { Document } from '../os/document.js'
import { workspaceApiUrl } from '../prefect/cloud.js'
import type { ServerTimes } from '../prefect/server-time.js'
import type { ProfileEdit, ProfileStore } from '../profiles/profile.js'
import { DAY_MS } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { KeepDelivery, LoginDelivery, LoginOutcome } from './login.js'
import { requireWritable } from './target.js'

interface AcceptLogin {
  readonly keep: KeepDelivery
  /** Finishes logins that a crash or a failed write to the profiles file interrupted. Never rejects. */
  recover(): Promise<void>
}

interface AcceptLoginParts {
  readonly journal: Document<Journal>
  readonly keeper: KeyKeeper
  readonly store: ProfileStore
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
  journal,
  keeper,
  store,
  rotator,
  events,
  audit,
  times,
  log,
  newId,
  settle,
}: AcceptLoginParts): AcceptLogin {
  const inProgress = new Set<string>()

  async function keepKey(delivery: LoginDelivery): Promise<KeyRecord> {
    const entry = planLogin(delivery, newId())
    inProgress.add(entry.id)
    try {
      await writeEntry(journal, entry)
      const record = await storeKey(delivery, entry)
      await finish(entry)
      return record
    } finally {
      inProgress.delete(entry.id)
    }
  }

  async function storeKey(delivery: LoginDelivery, { id, item }: LoginEntry): Promise<KeyRecord> {
    const { profile, cloudApiUrl, key, via, owner } = delivery
    const issuedAt = times.of(cloudApiUrl).clock.now()
    const expiry =
      via === 'browser' ? { expiresAt: issuedAt + ASSUMED_BROWSER_LIFE_MS, isExpiryAssumed: true } : {}
    const origin: KeyOrigin = owner.kind === 'service_account' ? 'service_account' : via
    try {
      return await keeper.store(key, { item, profile, cloudApiUrl, origin, issuedAt, ...expiry })
    } catch (error) {
      await drop(id, item).catch((failure: unknown) =>
        log.warn({ profile, error: failure }, 'cleaning up after a failed login failed; will retry'),
      )
      throw error
    }
  }

  /** Two steps, each harmless when repeated. If the key was never stored, there is only something to clean up. */
  async function finish({ id, item, owner, workspaces, ...entry }: LoginEntry): Promise<void> {
    if (keeper.ledger().keys[item] === undefined) return drop(id, item)
    if (keeper.profile(entry.profile).currentItem !== item) {
      await keeper.promote(item, { patch: { owner, workspaces } })
    }
    await writeProfile(entry)
    await dropEntry(journal, id)
  }

  async function drop(id: string, item: string): Promise<void> {
    // The vault may hold a key that the ledger does not know of, so it is forgotten by the name of its item.
    await keeper.forget(item)
    await dropEntry(journal, id)
  }

  async function writeProfile({
    profile,
    apiUrl,
    isToBeActive,
  }: Pick<LoginEntry, 'profile' | 'apiUrl' | 'isToBeActive'>): Promise<void> {
    const { file } = await store.refresh({ force: true })
    const url = { PREFECT_API_URL: apiUrl }
    // A plain-text key in the file is not the key just stored, and would hide it.
    const hasKey = file.profiles.get(profile)?.apiKey !== undefined
    const settings = hasKey ? { ...url, PREFECT_API_KEY: undefined } : url
    const edits: ProfileEdit[] = [{ kind: 'set', name: profile, settings }]
    if (isToBeActive) edits.push({ kind: 'set_active', name: profile })
    await store.edit(edits)
  }

  /** If the exchange fails, the login does not: the delivered key works, and status shows the reason. */
  async function exchangeKey(profile: string, record: KeyRecord): Promise<LoginOutcome> {
    try {
      const minted = await rotator.rotate(profile)
      await settle()
      return { key: keyFacts(minted), exchange: { isDone: true, message: exchanged(record) } }
    } catch (error) {
      log.warn({ profile, error }, 'key exchange failed; the delivered key is kept')
      const message = notExchanged(record, error)
      await keeper.note(profile, { exchangeRefused: message })
      await settle()
      const code = error instanceof BrokerError ? error.code : 'internal'
      events.emit('key.exchange_refused', { profile, facts: { code } })
      return { key: keyFacts(record), exchange: { isDone: false, message } }
    }
  }

  return {
    async keep(delivery) {
      const { profile, exchange } = delivery
      // Checked before anything is stored: a key without the URL that belongs to it would go to the wrong workspace.
      requireWritable(await store.refresh({ force: true }))
      const record = await keepKey(delivery)
      await settle()
      const { fingerprint, origin } = record
      events.emit('key.stored', { profile, facts: { fingerprint, origin } })
      audit.record({ action: 'login', outcome: 'done', door: 'daemon', profile, fingerprint })
      return exchange ? exchangeKey(profile, record) : { key: keyFacts(record) }
    },
    async recover() {
      for (const entry of Object.values(journal.read().entries)) {
        if (entry.kind !== 'login' || inProgress.has(entry.id)) continue
        try {
          await finish(entry)
        } catch (error) {
          log.warn({ profile: entry.profile, error }, 'recovering a login failed; will retry')
        }
      }
    },
  }
}

function planLogin(delivery: LoginDelivery, id: string): LoginEntry {
  const { profile, owner, workspaces, cloudApiUrl, workspace, isToBeActive = false } = delivery
  const apiUrl = workspaceApiUrl(cloudApiUrl, workspace)
  return { kind: 'login', id, profile, item: `key-${id}`, owner, workspaces, apiUrl, isToBeActive }
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
