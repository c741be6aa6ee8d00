/** Keeps what a login delivered: the key into the vault, the URL into the profile, and our own key in its place. */

import type { Audit } from '../audit/audit.js'
import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import { dropEntry, type Journal, type LoginEntry, writeEntry } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyOrigin, KeyRecord } from '../keys/ledger.js'
import { keyFacts } from '../keys/ledger.js'
import type { KeyRotator } from '../keys/rotate.js'
import type { Document } from '../os/document.js'
import { workspaceApiUrl } from '../prefect/cloud.js'
import type { ProfileEdit, ProfileStore } from '../profiles/profile.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { KeepDelivery, LoginDelivery, LoginOutcome } from './login.js'

interface AcceptLogin {
  readonly keep: KeepDelivery
  /** Finishes logins that a crash, or a file that could not be written, cut in two. Never rejects. */
  recover(): Promise<void>
}

interface AcceptLoginDeps {
  readonly journal: Document<Journal>
  readonly keeper: KeyKeeper
  readonly store: ProfileStore
  readonly rotator: KeyRotator
  readonly events: Events
  readonly audit: Audit
  readonly clock: Clock
  readonly log: Log
  readonly newId: () => string
  /** Brings the served answers up to date. */
  readonly settle: () => Promise<void>
}

/**
 * Browser keys live 30 days and end at some midnight of an unknown time zone, so less than 30 is certain
 * (PrefectHQ/prefect docs/v3/how-to-guides/cloud/connect-to-cloud.mdx; docs/images/api-keys1.png).
 */
const ASSUMED_BROWSER_LIFE_MS = 29 * 24 * 3_600_000

export function createAcceptLogin(deps: AcceptLoginDeps): AcceptLogin {
  const underWay = new Set<string>()

  async function store(delivery: LoginDelivery): Promise<KeyRecord> {
    const entry = planLogin(deps, delivery)
    underWay.add(entry.id)
    try {
      await writeEntry(deps.journal, entry)
      const record = await storeDelivered(deps, delivery, entry)
      await finishLogin(deps, entry)
      return record
    } finally {
      underWay.delete(entry.id)
    }
  }

  return {
    async keep(delivery) {
      const { profile, exchange } = delivery
      await requireWritableProfile(deps)
      const record = await store(delivery)
      await deps.settle()
      const { fingerprint, origin } = record
      deps.events.emit('key.stored', { profile, facts: { fingerprint, origin } })
      deps.audit.record({ action: 'login', outcome: 'done', door: 'daemon', profile, fingerprint })
      return exchange ? exchangeDelivered(deps, delivery, record) : { key: keyFacts(record) }
    },
    async recover() {
      for (const entry of Object.values(deps.journal.read().entries)) {
        if (entry.kind !== 'login' || underWay.has(entry.id)) continue
        try {
          await finishLogin(deps, entry)
        } catch (error) {
          deps.log.warn({ profile: entry.profile, error }, 'a login could not be finished yet')
        }
      }
    },
  }
}

function planLogin({ newId }: AcceptLoginDeps, delivery: LoginDelivery): LoginEntry {
  const { profile, owner, workspaces, cloudApiUrl, workspace, isToBeActive = false } = delivery
  const id = newId()
  const apiUrl = workspaceApiUrl(cloudApiUrl, workspace)
  return { kind: 'login', id, profile, item: `key-${id}`, owner, workspaces, apiUrl, isToBeActive }
}

/** Asked before anything is stored: a key without the URL that belongs to it would be sent to the wrong workspace. */
async function requireWritableProfile({ store }: AcceptLoginDeps): Promise<void> {
  const { state, path, problem } = await store.refresh({ force: true })
  if (state !== 'invalid' && state !== 'unreadable') return
  throw new BrokerError(
    state === 'invalid' ? 'profiles_file_invalid' : 'profiles_file_unreadable',
    `the login can't be written into ${path}: ${problem ?? state}`,
    { hint: 'mend the file, then prefect-auth login' },
  )
}

/** Both halves, each harmless when done twice. Without a stored key there is nothing to finish, only to clear away. */
async function finishLogin(deps: AcceptLoginDeps, entry: LoginEntry): Promise<void> {
  const { keeper, journal } = deps
  if (keeper.ledger().keys[entry.item] === undefined) return dropLogin(deps, entry)
  if (keeper.current(entry.profile)?.item !== entry.item) {
    await keeper.promote(entry.item, { patch: { owner: entry.owner, workspaces: entry.workspaces } })
  }
  await writeProfile(deps, entry)
  await dropEntry(journal, entry.id)
}

/** The vault may hold the key although nothing says so: forgetting goes by the item's name. */
async function dropLogin({ keeper, journal }: AcceptLoginDeps, entry: LoginEntry): Promise<void> {
  await keeper.forget(entry.item)
  await dropEntry(journal, entry.id)
}

async function storeDelivered(
  deps: AcceptLoginDeps,
  delivery: LoginDelivery,
  entry: LoginEntry,
): Promise<KeyRecord> {
  const { keeper, clock, log } = deps
  const { profile, cloudApiUrl, key, via, owner } = delivery
  const now = clock.now()
  try {
    return await keeper.store(key, {
      item: entry.item,
      profile,
      cloudApiUrl,
      origin: originOf(via, owner.kind),
      issuedAt: now,
      ...(via === 'browser' ? { expiresAt: now + ASSUMED_BROWSER_LIFE_MS, isExpiryAssumed: true } : {}),
    })
  } catch (error) {
    await dropLogin(deps, entry).catch((failure: unknown) =>
      log.warn({ profile, error: failure }, 'a login that could not be stored could not be cleared away yet'),
    )
    throw error
  }
}

function originOf(via: LoginDelivery['via'], owner: LoginDelivery['owner']['kind']): KeyOrigin {
  if (owner === 'service_account') return 'service_account'
  return via
}

/** The URL always; a plain-text key that the file had is another key than the one now stored, and would hide it. */
async function writeProfile(
  { store }: AcceptLoginDeps,
  { profile, apiUrl, isToBeActive }: LoginEntry,
): Promise<void> {
  const reading = await store.refresh({ force: true })
  const settings = {
    PREFECT_API_URL: apiUrl,
    ...(reading.file.profiles.get(profile)?.apiKey === undefined ? {} : { PREFECT_API_KEY: undefined }),
  }
  const edits: ProfileEdit[] = [{ kind: 'set', name: profile, settings }]
  if (isToBeActive) edits.push({ kind: 'set_active', name: profile })
  await store.edit(edits)
}

/** A refusal is no failure of the login: the delivered key is good, and status says what it means. */
async function exchangeDelivered(
  deps: AcceptLoginDeps,
  delivery: LoginDelivery,
  record: KeyRecord,
): Promise<LoginOutcome> {
  const { rotator, events, log } = deps
  const { profile } = delivery
  try {
    const minted = await rotator.rotate(profile)
    await deps.settle()
    return { key: keyFacts(minted), exchange: { isDone: true, message: exchanged(record) } }
  } catch (error) {
    log.warn({ profile, error }, 'the delivered key could not be exchanged')
    const message = notExchanged(record, error)
    await deps.keeper.note(profile, { exchangeRefused: message })
    await deps.settle()
    const code = isBrokerError(error) ? error.code : 'internal'
    events.emit('key.exchange_refused', { profile, facts: { code } })
    return { key: keyFacts(record), exchange: { isDone: false, message } }
  }
}

function exchanged({ fingerprint }: KeyRecord): string {
  return `the delivered key (${fingerprint}) was replaced by one of our own; Prefect does not tell its id, so it is left to expire`
}

function notExchanged({ expiresAt }: KeyRecord, error: unknown): string {
  const reason = error instanceof BrokerError ? error.message : 'an unexpected error'
  const life =
    expiresAt === undefined
      ? ''
      : `, which ends on about ${new Date(expiresAt).toISOString().slice(0, 10)} (assumed)`
  return `the delivered key is kept, it could not be exchanged: ${reason}; it serves until its own expiry${life}`
}
