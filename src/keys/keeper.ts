/**
 * Holds the keys: each in the vault as an item of its own, described by one record in the ledger, and in memory while
 * the daemon runs, so that a locked or hung keyring stops changes, not jobs.
 */
import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Document } from '../os/document.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import { Secret } from '../std/secret.js'
import type { Vault } from '../vault/vault.js'
import {
  buried,
  forgotten,
  itemsInUse,
  type KeyRecord,
  type Ledger,
  noted,
  type ProfileNote,
  type ProfileRecord,
  profileRecord,
  promoted,
  renamed,
  reset,
  withKey,
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
  throw new BrokerError('vault_corrupt', `the vault item ${item} does not hold what we wrote`, {
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

/** What memory has for an item. */
type HeldSecret =
  | { readonly kind: 'held'; readonly secret: Secret; readonly apiUrl: string }
  | { readonly kind: 'missing' }
  | { readonly kind: 'failed'; readonly error: BrokerError }

/** A key to be kept: everything of its record but what follows from keeping it. */
type NewKey = Omit<KeyRecord, 'fingerprint' | 'handedOut' | 'retiredAt' | 'rejectedAt' | 'warned'>

export interface KeyKeeper {
  /**
   * Reads every item that the ledger names and memory does not hold, and deletes those that are doomed. Rejects never: what
   * failed is told by `held`.
   */
  load(): Promise<void>
  /**
   * The same where something failed before, one at a time and at most every two seconds: a keyring may have been unlocked
   * in the meantime. Answers whether it looked.
   */
  retryFailed(): Promise<boolean>
  /** Whether something could not be read from the vault. */
  hasFailed(): boolean
  /** Drops all secrets from memory, after which nothing is served until the vault is opened and `load` called. */
  release(): void
  held(item: string): HeldSecret
  /** The key itself, where what memory holds is what the item's record describes: the same host, the same fingerprint. */
  keyOf(item: string): Secret | undefined
  ledger(): Ledger
  profile(name: string): ProfileRecord
  /** Puts a key into the vault and its record into the ledger; it is not served yet. */
  store(key: Secret, about: NewKey): Promise<KeyRecord>
  /**
   * Makes a stored key the one that is served: one atomic write. The key before it becomes retired. Answers `false`, and
   * changes nothing, where `replacing` is given and another item is the current one.
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
  /** Keeps a server profile's auth string; `undefined` forgets it. */
  storeAuthString(
    profile: string,
    apiUrl: string,
    item: string,
    authString: Secret | undefined,
  ): Promise<void>
  /** Takes the record out of the ledger, then the item out of the vault: again at every `load` until the vault does it. */
  forget(item: string): Promise<void>
  markHandedOut(item: string): Promise<void>
  markRejected(item: string): Promise<void>
  /** Prefect has set another end to this key. Epoch ms. */
  noteExpiry(item: string, expiresAt: number): Promise<void>
  /** A warning of the key's end, so many days before it, is going to be given. */
  markWarned(item: string, days: number): Promise<void>
  /** Moves records from one profile name to another. */
  renameProfile(from: string, to: string): Promise<void>
  /** Forgets all that is known of a profile but its generation, which never goes back. */
  resetProfile(name: string): Promise<void>
  /** Called after every change of the ledger or of what is held. */
  onChange(listener: () => void): () => void
}

interface KeyKeeperDeps {
  readonly vault: Vault
  readonly ledger: Document<Ledger>
  readonly clock: Clock
  readonly log: Log
}

const RETRY_MS = 2_000

export function createKeyKeeper({ vault, ledger, clock, log }: KeyKeeperDeps): KeyKeeper {
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
      log.warn({ item, error }, 'a key could not be read from the vault')
      const known = isBrokerError(error) ? error : undefined
      return {
        kind: 'failed',
        error: known ?? new BrokerError('vault_unavailable', 'reading the vault failed', { cause: error }),
      }
    }
  }

  const patchKey = (item: string, patch: Partial<KeyRecord>) =>
    update((current) => {
      const record = current.keys[item]
      return record === undefined ? current : withKey(current, { ...record, ...patch })
    })

  /** A vault that does not delete now is asked again: a forgotten secret must not lie there for ever. */
  const bury = async (items: readonly string[]) => {
    const done: string[] = []
    for (const item of items) {
      secrets.delete(item)
      try {
        await vault.delete(item)
        done.push(item)
      } catch (error) {
        log.warn({ item, error }, 'a forgotten item could not be deleted from the vault yet')
      }
    }
    if (done.length > 0) await ledger.update((current) => buried(current, done))
  }

  let lastLoadAt = Number.NEGATIVE_INFINITY
  const load = async () => {
    lastLoadAt = clock.monotonic()
    const current = ledger.read()
    for (const item of itemsInUse(current)) {
      // What memory holds is good; only what is missing or failed is worth another look.
      if (secrets.get(item)?.kind !== 'held') secrets.set(item, await read(item))
    }
    await bury(current.doomed ?? []).catch((error: unknown) =>
      log.warn({ error }, 'what was deleted from the vault could not be noted'),
    )
    changed()
  }

  const hasFailed = () => [...secrets.values()].some(({ kind }) => kind === 'failed')
  let retrying: Promise<void> | undefined
  return {
    load,
    async retryFailed() {
      if (retrying === undefined && !(hasFailed() && clock.monotonic() - lastLoadAt > RETRY_MS)) return false
      retrying ??= load().finally(() => {
        retrying = undefined
      })
      await retrying
      return true
    },
    hasFailed,
    release() {
      const error = new BrokerError('vault_locked', 'the vault was locked', { hint: 'prefect-auth unlock' })
      for (const item of secrets.keys()) secrets.set(item, { kind: 'failed', error })
      changed()
    },
    held: (item) => secrets.get(item) ?? { kind: 'missing' },
    keyOf(item) {
      const record = ledger.read().keys[item]
      const held = secrets.get(item)
      if (record === undefined || held?.kind !== 'held' || held.apiUrl !== record.cloudApiUrl)
        return undefined
      return held.secret.fingerprint() === record.fingerprint ? held.secret : undefined
    },
    ledger: () => ledger.read(),
    profile,
    async store(key, about) {
      const envelope = {
        kind: 'api_key',
        profile: about.profile,
        apiUrl: about.cloudApiUrl,
        secret: key,
      } as const
      await vault.put(about.item, sealEnvelope(envelope))
      secrets.set(about.item, { kind: 'held', secret: key, apiUrl: about.cloudApiUrl })
      const fingerprint = key.fingerprint()
      // The same key under another item may be in somebody's hands already.
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
    note: (name, patch) =>
      update((current) => withProfile(current, name, noted(profileRecord(current, name), patch))),
    async storeAuthString(name, apiUrl, item, authString) {
      const before = profile(name).authItem
      if (authString !== undefined) {
        await vault.put(
          item,
          sealEnvelope({ kind: 'auth_string', profile: name, apiUrl, secret: authString }),
        )
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
    async markHandedOut(item) {
      if (ledger.read().keys[item]?.handedOut === false) await patchKey(item, { handedOut: true })
    },
    markRejected: (item) => patchKey(item, { rejectedAt: clock.now() }),
    noteExpiry: (item, expiresAt) => patchKey(item, { expiresAt }),
    markWarned: (item, days) => patchKey(item, { warned: days }),
    renameProfile: (from, to) => update((current) => renamed(current, from, to)),
    resetProfile: (name) => update((current) => reset(current, name)),
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
