/** The keys we hold: one vault item and one ledger record each, and all secrets in memory. */
import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Document } from '../os/document.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import { Secret } from '../std/secret.js'
import type { Vault } from '../vault/vault.js'
import { createItemLoader, type HeldSecret } from './item-loader.js'
import {
  buried,
  currentKey,
  forgotten,
  itemsInUse,
  type KeyRecord,
  keysOf,
  type Ledger,
  type ProfileNote,
  type ProfileRecord,
  profileRecord,
  promoted,
  renamed,
  reset,
  withKey,
  withNote,
  withProfile,
} from './ledger.js'

interface Envelope {
  readonly kind: 'api_key' | 'auth_string'
  readonly profile: string
  /** The API base that the secret belongs to. */
  readonly apiUrl: string
  readonly secret: Secret
}

/** The text that goes into the vault. */
export function sealEnvelope({ kind, profile, apiUrl, secret }: Envelope): Secret {
  return new Secret(JSON.stringify({ v: 1, kind, profile, api_url: apiUrl, secret: secret.reveal() })) // what the vault keeps
}

/** Reads what came out of the vault. Throws `vault_corrupt` for anything that `sealEnvelope` did not write. */
function openEnvelope(item: string, sealed: Secret): Envelope {
  const content = parseObject(sealed)
  const { kind, profile, api_url: apiUrl, secret } = content
  if (
    content.v === 1 &&
    (kind === 'api_key' || kind === 'auth_string') &&
    typeof profile === 'string' &&
    typeof apiUrl === 'string' &&
    typeof secret === 'string'
  ) {
    return { kind, profile, apiUrl, secret: new Secret(secret) }
  }
  throw new BrokerError('vault_corrupt', `the vault item ${item} is not what was stored`, {
    hint: 'prefect-auth login',
  })
}

function parseObject(sealed: Secret): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(sealed.reveal()) // read back from the vault
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

export type { HeldSecret }

/** The key, if `held` is what `record` describes: the same host, the same fingerprint. */
export function genuineKey(record: KeyRecord, held: HeldSecret): Secret | undefined {
  if (held.kind !== 'held' || held.apiUrl !== record.cloudApiUrl) return undefined
  return held.secret.fingerprint() === record.fingerprint ? held.secret : undefined
}

/** A key to store: its record without what storing it determines. */
type NewKey = Omit<KeyRecord, 'fingerprint' | 'handedOut' | 'retiredAt' | 'rejectedAt' | 'warned'>

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
  profile(name: string): ProfileRecord
  /** The record of the profile's current key, with its item. */
  current(profile: string): KeyRecord | undefined
  /** Puts a key into the vault and its record into the ledger; it is not served yet. */
  store(key: Secret, about: NewKey): Promise<KeyRecord>
  /**
   * Makes a stored key the current one and retires the key before it: one atomic write. Returns false, and changes nothing,
   * if `replacing` is given and another item is current.
   */
  promote(
    item: string,
    options?: {
      readonly patch?: Partial<Pick<ProfileRecord, 'owner' | 'workspaces'>>
      readonly replacing?: string
    },
  ): Promise<boolean>
  /** Changes what is known of a profile besides its keys. */
  note(profile: string, patch: ProfileNote): Promise<void>
  /** The same for several profiles, in one write. */
  noteAll(notes: readonly (readonly [profile: string, patch: ProfileNote])[]): Promise<void>
  /** Keeps a server profile's auth string; `undefined` forgets it. */
  storeAuthString(profile: string, apiUrl: string, item: string, text: Secret | undefined): Promise<void>
  /** Removes the record from the ledger, then the item from the vault; every `load` retries the latter. */
  forget(item: string): Promise<void>
  /** Forgets all keys of a profile and everything known of it but its generation, which never goes back. Returns their fingerprints. */
  forgetProfile(name: string): Promise<readonly string[]>
  markHandedOut(item: string): Promise<void>
  markRejected(item: string): Promise<void>
  /** Prefect set another expiry for this key. Epoch ms. */
  noteExpiry(item: string, expiresAt: number): Promise<void>
  /** Notes that the warning this many days before expiry is being given. */
  markWarned(item: string, days: number): Promise<void>
  /** Moves records from one profile name to another. */
  renameProfile(from: string, to: string): Promise<void>
  /** Called after every change of the ledger or of what is held. */
  onChange(listener: () => void): () => void
}

/** While it runs, a locked or hung keyring stops changes, not jobs: secrets are served from memory. */
export function createKeyKeeper({
  vault,
  ledger,
  clock,
  log,
}: {
  readonly vault: Vault
  readonly ledger: Document<Ledger>
  readonly clock: Clock
  readonly log: Log
}): KeyKeeper {
  const secrets = new Map<string, HeldSecret>()
  const listeners = new Set<() => void>()

  const changed = () => {
    for (const listener of listeners) listener()
  }

  const update = async (change: (current: Ledger) => Ledger): Promise<void> => {
    await ledger.update(change)
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

  const patchKey = (item: string, patch: Partial<KeyRecord>) =>
    update((current) => {
      const record = current.keys[item]
      return record === undefined ? current : withKey(current, { ...record, ...patch })
    })

  /** Never rejects for one item: what the vault cannot delete now stays doomed, and the next `load` retries it. */
  const bury = async (items: readonly string[]) => {
    const done: string[] = []
    for (const item of items) {
      secrets.delete(item)
      try {
        await vault.delete(item)
        done.push(item)
      } catch (error) {
        log.warn({ item, error }, 'vault delete failed; will retry')
      }
    }
    if (done.length > 0) await ledger.update((current) => buried(current, done))
  }

  const loader = createItemLoader({
    secrets,
    wanted: () => itemsInUse(ledger.read()),
    read,
    show: changed,
    bury: () =>
      bury(ledger.read().doomed ?? []).catch((error: unknown) =>
        log.warn({ error }, 'deleted vault items could not be noted'),
      ),
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
    held: (item) => secrets.get(item) ?? { kind: 'missing' },
    keyOf(item) {
      const record = ledger.read().keys[item]
      const held = secrets.get(item)
      return record === undefined || held === undefined ? undefined : genuineKey(record, held)
    },
    ledger: () => ledger.read(),
    profile,
    current: (name) => currentKey(ledger.read(), name),
    async store(key, about) {
      const { item, profile, cloudApiUrl: apiUrl } = about
      await vault.put(item, sealEnvelope({ kind: 'api_key', profile, apiUrl, secret: key }))
      secrets.set(item, { kind: 'held', secret: key, apiUrl })
      const fingerprint = key.fingerprint()
      // The same key under another item may have been handed out already.
      const handedOut = Object.values(ledger.read().keys).some(
        (other) => other.fingerprint === fingerprint && other.handedOut,
      )
      const record: KeyRecord = { ...about, fingerprint, handedOut }
      await update((current) => withKey(current, record))
      return record
    },
    async promote(item, options = {}) {
      await update((current) => promoted(current, item, options, clock.now()))
      const record = ledger.read().keys[item]
      return record !== undefined && profile(record.profile).currentItem === item
    },
    note: (name, patch) => update((current) => withNote(current, [name, patch])),
    noteAll: (notes) => update((current) => notes.reduce(withNote, current)),
    async storeAuthString(name, apiUrl, item, authString) {
      const before = profile(name).authItem
      if (authString !== undefined) {
        const envelope = { kind: 'auth_string', profile: name, apiUrl, secret: authString } as const
        await vault.put(item, sealEnvelope(envelope))
        secrets.set(item, { kind: 'held', secret: authString, apiUrl })
      }
      await update((current) => {
        const { authItem: _, ...rest } = profileRecord(current, name)
        const next = withProfile(current, name, authString === undefined ? rest : { ...rest, authItem: item })
        return before === undefined || before === item ? next : forgotten(next, before)
      })
      if (before !== undefined && before !== item) await bury([before])
    },
    async forget(item) {
      await update((current) => forgotten(current, item))
      await bury([item])
    },
    async forgetProfile(name) {
      const keys = keysOf(ledger.read(), name)
      const items = [...keys.map(({ item }) => item), profile(name).authItem ?? []].flat()
      await update((current) => items.reduce(forgotten, reset(current, name)))
      await bury(items)
      return keys.map(({ fingerprint }) => fingerprint)
    },
    async markHandedOut(item) {
      if (ledger.read().keys[item]?.handedOut === false) await patchKey(item, { handedOut: true })
    },
    markRejected: (item) => patchKey(item, { rejectedAt: clock.now() }),
    noteExpiry: (item, expiresAt) => patchKey(item, { expiresAt }),
    markWarned: (item, days) => patchKey(item, { warned: days }),
    renameProfile: (from, to) => update((current) => renamed(current, from, to)),
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
