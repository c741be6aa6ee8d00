/** The keys we hold: one vault item and one ledger record each, and all secrets in memory. */
import { BrokerError, isBrokerError } from '../base/errors.js'
import type { NotedDocument } from '../os/document.js'
import type { ServerTimes } from '../prefect/server-time.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import type { Vault } from '../vault/vault.js'
import { type Envelope, openEnvelope, sealEnvelope } from './envelope.js'
import { mergedKey } from './identity.js'
import { createItemLoader, type HeldSecret } from './item-loader.js'
import {
  buried,
  currentKey,
  forgotten,
  itemsInUse,
  type KeyRecord,
  type Ledger,
  type ProfileNote,
  type ProfileRecord,
  profileRecord,
  promoted,
  withKey,
  withNote,
  withoutChange,
} from './ledger.js'
import { createLedgerIndex, type LedgerIndex } from './ledger-index.js'

export type { HeldSecret }

/** The key, if `held` is what `record` describes: the same host, the same fingerprint. */
export function genuineKey(record: KeyRecord, held: HeldSecret): Secret | undefined {
  if (held.kind !== 'held' || held.apiUrl !== record.cloudApiUrl) return undefined
  return held.secret.fingerprint() === record.fingerprint ? held.secret : undefined
}

/** A key to store: its record without what storing it determines. `handedOut`: others may have it already. */
export type NewKey = Omit<KeyRecord, 'fingerprint' | 'handedOut' | 'doubt' | 'rejectedAt' | 'warned'> & {
  readonly handedOut?: boolean
}

export interface KeyKeeper {
  /** Reads what the ledger names and memory lacks, and deletes forgotten items. Never rejects; `held` reports failures per item. */
  load(): Promise<void>
  /** Loads again if an item failed before, one load at a time, at most every two seconds. Returns true if it retried. */
  retryFailed(): Promise<boolean>
  /** Whether an item could not be read from the vault. */
  hasFailed(): boolean
  /** Drops all secrets from memory; nothing is served until the vault is opened and `load` called. */
  release(): void
  held(item: string): HeldSecret
  /** The key under this item, if it is genuine: see `genuineKey`. */
  keyOf(item: string): Secret | undefined
  ledger(): Ledger
  /** Finds keys and profiles in a ledger; default: the current one. */
  index(ledger?: Ledger): LedgerIndex
  profile(name: string): ProfileRecord
  /** The record of the profile's current key, with its item. */
  current(profile: string): KeyRecord | undefined
  /** The record of this very key, if there is one. */
  find(key: Secret, cloudApiUrl: string): KeyRecord | undefined
  /**
   * Puts a key into the vault and its record into the ledger; it is not served yet. A key that is known keeps its record
   * and item, with what is new about it.
   */
  store(key: Secret, about: NewKey): Promise<KeyRecord>
  /**
   * Stores a key again whose record a crash has kept from being written: from its item in the vault. Undefined if there is
   * no such key; rejects as `Vault.get` and `store` do.
   */
  recall(about: NewKey): Promise<KeyRecord | undefined>
  /** Puts an auth string into the vault; nothing names it yet. */
  putAuthString(item: string, profile: string, apiUrl: string, text: Secret): Promise<void>
  /** One durable change of the ledger; what it forgets is then deleted from the vault. */
  apply(change: (ledger: Ledger) => Ledger): Promise<void>
  /** The same for what is decided elsewhere and cannot be refused: in memory if the disk fails, and written later. */
  accept(change: (ledger: Ledger) => Ledger): Promise<void>
  /**
   * Makes a stored key the current one and retires the key before it: one atomic write. Returns false, and changes nothing,
   * if `replacing` is given and another item is current.
   */
  promote(
    item: string,
    options?: {
      /** Default: the profile that the key was stored for. */
      readonly profile?: string
      readonly patch?: Partial<Pick<ProfileRecord, 'owner' | 'workspaces'>>
      readonly replacing?: string
      /** The journal's entry that is done with this. */
      readonly settles?: string
    },
  ): Promise<boolean>
  /** Changes what is known of a profile besides its keys. Like every note and mark: in memory if the disk fails. */
  note(profile: string, patch: ProfileNote): Promise<void>
  /** The same for several profiles, in one write. */
  noteAll(notes: readonly (readonly [profile: string, patch: ProfileNote])[]): Promise<void>
  /** Removes the record from the ledger, then the item from the vault; every `load` retries the latter. */
  forget(item: string): Promise<void>
  markHandedOut(item: string): Promise<void>
  /** Changes what is known of a key. */
  noteKey(item: string, change: (record: KeyRecord) => KeyRecord): Promise<void>
  /** Prefect set another expiry for this key. Epoch ms. */
  noteExpiry(item: string, expiresAt: number): Promise<void>
  /** Notes that the warning this many days before expiry is being given. */
  markWarned(item: string, days: number): Promise<void>
  /** Called after every change of the ledger or of what is held. */
  onChange(listener: () => void): () => void
}

const MISSING: HeldSecret = { kind: 'missing' }

/** While it runs, a locked or hung keyring stops changes, not jobs: secrets are served from memory. */
export function createKeyKeeper({
  vault,
  ledger,
  clock,
  times,
  log,
}: {
  readonly vault: Vault
  readonly ledger: NotedDocument<Ledger>
  readonly clock: Clock
  readonly times: ServerTimes
  readonly log: Log
}): KeyKeeper {
  const secrets = new Map<string, HeldSecret>()
  const listeners = new Set<() => void>()
  const indexOf = createLedgerIndex()
  const index = (of = ledger.read()) => indexOf(of)

  const changed = () => {
    for (const listener of listeners) listener()
  }

  const update = async (change: (current: Ledger) => Ledger): Promise<void> => {
    await ledger.update(change)
    changed()
  }

  /** What has happened is so, even if the disk does not take it now. */
  const observe = async (change: (current: Ledger) => Ledger): Promise<void> => {
    await ledger.note(change)
    changed()
  }

  const profile = (name: string) => profileRecord(ledger.read(), name)
  const kindOf = (item: string): Envelope['kind'] =>
    Object.hasOwn(ledger.read().keys, item) ? 'api_key' : 'auth_string'

  const read = async (item: string): Promise<HeldSecret> => {
    try {
      const sealed = await vault.get(item)
      if (sealed === undefined) return { kind: 'missing' }
      const { kind, secret, apiUrl } = openEnvelope(item, sealed)
      return kind === kindOf(item) ? { kind: 'held', secret, apiUrl } : { kind: 'missing' }
    } catch (error) {
      log.warn({ item, error }, 'vault read failed; will retry')
      if (isBrokerError(error)) return { kind: 'failed', error }
      return {
        kind: 'failed',
        error: new BrokerError('vault_unavailable', 'cannot read the vault', { cause: error }),
      }
    }
  }

  const noteKey = (item: string, change: (record: KeyRecord) => KeyRecord) =>
    observe((current) => {
      const record = current.keys[item]
      return record === undefined ? current : withKey(current, change(record))
    })

  /** What the vault cannot delete now stays doomed, and the next `load` retries it; what was put again meanwhile is kept. */
  const bury = async (items: readonly string[]) => {
    const done: string[] = []
    for (const item of items) {
      if (ledger.read().doomed?.includes(item) !== true) continue
      secrets.delete(item)
      try {
        await vault.delete(item)
        done.push(item)
      } catch (error) {
        log.warn({ item, error }, 'vault delete failed; will retry')
      }
    }
    if (done.length > 0) await ledger.note((current) => buried(current, done))
  }

  const buryDoomed = () =>
    bury(ledger.read().doomed ?? []).catch((error: unknown) =>
      log.warn({ error }, 'deleted vault items could not be noted'),
    )

  const keyOf = (item: string): Secret | undefined => {
    const record = ledger.read().keys[item]
    const held = secrets.get(item)
    return record === undefined || held === undefined ? undefined : genuineKey(record, held)
  }

  const find = (key: Secret, cloudApiUrl: string): KeyRecord | undefined => {
    const fingerprint = key.fingerprint()
    // A fingerprint has 48 bits: where the text is known, that decides.
    const isIt = ({ item }: KeyRecord) => keyOf(item)?.equals(key) ?? true
    const { keysWith, profilesServing } = index()
    const found = keysWith(fingerprint).filter((record) => record.cloudApiUrl === cloudApiUrl && isIt(record))
    return found.find(({ item }) => profilesServing(item).length > 0) ?? found[0]
  }

  const store: KeyKeeper['store'] = async (key, about) => {
    const known = find(key, about.cloudApiUrl)
    const item = known?.item ?? about.item
    const { profile, cloudApiUrl: apiUrl } = about
    if (keyOf(item) === undefined) {
      await vault.put(item, sealEnvelope({ kind: 'api_key', profile, apiUrl, secret: key }))
      secrets.set(item, { kind: 'held', secret: key, apiUrl })
    }
    const fingerprint = key.fingerprint()
    const handedOut =
      about.handedOut === true ||
      index()
        .keysWith(fingerprint)
        .some((one) => one.handedOut)
    const fresh: KeyRecord = { ...about, item, fingerprint, handedOut }
    await update((current) => withKey(current, mergedKey(current.keys[item], fresh)))
    return ledger.read().keys[item] ?? fresh
  }

  const loader = createItemLoader({
    secrets,
    wanted: () => itemsInUse(ledger.read()),
    read,
    show: changed,
    bury: buryDoomed,
    clock,
  })
  const hasFailed = () => [...secrets.values()].some(({ kind }) => kind === 'failed')
  return {
    load: loader.load,
    retryFailed: async () => hasFailed() && loader.retry(),
    hasFailed,
    release() {
      loader.interrupt()
      const error = new BrokerError('vault_locked', 'the vault was locked', { hint: 'prefect-auth unlock' })
      for (const item of secrets.keys()) secrets.set(item, { kind: 'failed', error })
      changed()
    },
    held: (item) => secrets.get(item) ?? MISSING,
    keyOf,
    ledger: () => ledger.read(),
    index,
    profile,
    current: (name) => currentKey(ledger.read(), name),
    find,
    store,
    async recall(about) {
      const sealed = await vault.get(about.item)
      const found = sealed === undefined ? undefined : openEnvelope(about.item, sealed)
      if (found?.kind !== 'api_key' || found.apiUrl !== about.cloudApiUrl) return undefined
      return store(found.secret, about)
    },
    async putAuthString(item, profile, apiUrl, secret) {
      await vault.put(item, sealEnvelope({ kind: 'auth_string', profile, apiUrl, secret }))
      secrets.set(item, { kind: 'held', secret, apiUrl })
    },
    async apply(change) {
      await update(change)
      await buryDoomed()
    },
    async accept(change) {
      await observe(change)
      await buryDoomed()
    },
    async promote(item, options = {}) {
      const { settles, ...how } = options
      await update((current) => {
        const now = times.of(current.keys[item]?.cloudApiUrl ?? '').clock.now()
        const next = promoted(current, item, how, now)
        return next === current || settles === undefined ? next : withoutChange(next, settles)
      })
      const record = ledger.read().keys[item]
      return record !== undefined && profile(how.profile ?? record.profile).currentItem === item
    },
    note: (name, patch) => observe((current) => withNote(current, [name, patch])),
    noteAll: (notes) => observe((current) => notes.reduce(withNote, current)),
    async forget(item) {
      await update((current) => forgotten(current, item))
      await buryDoomed()
    },
    async markHandedOut(item) {
      if (ledger.read().keys[item]?.handedOut === false)
        await noteKey(item, (record) => ({ ...record, handedOut: true }))
    },
    noteKey,
    noteExpiry: (item, expiresAt) => noteKey(item, (record) => ({ ...record, expiresAt })),
    markWarned: (item, days) => noteKey(item, (record) => ({ ...record, warned: days })),
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
