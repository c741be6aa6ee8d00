/** The ports of logins: each stays bound for half an hour after its login, so that nobody else gets a late key. */

import type { Document } from '../os/document.js'
import { type Clock, MINUTE_MS, type Timer } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import { loginCommand, quoteWord } from '../std/text.js'
import type { LoginCallback, OpenCallback } from './callback.js'
import type { CallbackRequest } from './callback-app.js'
import { hashState } from './delivery.js'

/** What is needed to bind a port again after a restart; no secret. */
export interface PortRecord {
  readonly port: number
  readonly profile: string
  readonly cloudApiUrl: string
  readonly uiOrigin: string
  /** SHA-256 of the text in the callback's path, if there is one. */
  readonly stateHash?: string
  /** Epoch ms. */
  readonly until: number
}

export interface PortList {
  readonly ports: readonly PortRecord[]
}

export const NO_PORTS: PortList = { ports: [] }

/** A port whose login has ended. */
export interface KeptPort {
  readonly port: number
  readonly profile: string
  /** Epoch ms. */
  readonly until: number
  /** Keys that arrived after the login had ended; the next login of the profile examines them. */
  readonly lateKeys: number
  /** Requests that delivered no key, by our word for the reason. */
  readonly refusedBy: Readonly<Record<string, number>>
}

/** What a login does with the requests to its port. */
type Host = Pick<CallbackRequest, 'onDelivery' | 'onFailure' | 'onRefused'>

export interface LoginPort extends Pick<LoginCallback, 'callbackUrl' | 'port'> {
  /** The login has ended: the port stays bound for half an hour. Idempotent. */
  release(): void
}

export interface LoginPorts {
  /** Binds a fresh port, or the wanted one, that `host` answers for until it is released. Rejects with `login_port_unavailable`. */
  open(
    facts: Pick<PortRecord, 'profile' | 'cloudApiUrl' | 'uiOrigin'> & {
      readonly state?: string
      readonly wanted?: number
    },
    host: Host,
  ): Promise<LoginPort>
  /** Binds again what the last run of the daemon left. Never rejects. */
  resume(): Promise<void>
  /** The late keys for a login of this profile at this API, oldest first. */
  lateKeys(profile: string, cloudApiUrl: string): readonly Secret[]
  /** A login has taken or refused the late key. */
  forget(key: Secret): void
  /** The login that a port of ours was opened for, pending or ended. */
  loginAt(port: number): { readonly profile: string; readonly isOver: boolean } | undefined
  /** The ports whose logins have ended. */
  kept(): readonly KeptPort[]
  /** Closes all ports. The list of them is kept for the next start. */
  close(): Promise<void>
}

/** How long a port stays bound after its login: a browser tab may stay open that long. */
export const KEEP_PORT_MS = 30 * MINUTE_MS
/** The oldest is closed first. */
export const MAX_KEPT_PORTS = 8
/** Per port: anybody on the machine can deliver a key. */
const MAX_LATE_KEYS = 5
/** A flood stops being counted here. */
const MAX_COUNT = 1_000_000

interface Entry {
  record: PortRecord
  readonly listener: LoginCallback
  /** Absent once the login has ended. */
  host?: Host
  late: readonly Secret[]
  timer?: Timer
}

interface Counts {
  /** Fingerprints of the keys that came through this port. A browser repeats a request whose connection broke. */
  readonly seen: Set<string>
  readonly refusedBy: Map<string, number>
}

export function createLoginPorts({
  document,
  openCallback,
  clock,
  log,
  pendingMs,
  onLate,
}: {
  readonly document: Document<PortList>
  readonly openCallback: OpenCallback
  readonly clock: Clock
  readonly log: Log
  /** How long a login may last. */
  readonly pendingMs: number
  /** A late key has arrived for this profile. `isOver`: its own login has ended. */
  readonly onLate: (profile: string, facts: { readonly port: number; readonly isOver: boolean }) => void
}): LoginPorts {
  const entries = new Map<number, Entry>()
  const counts = new WeakMap<Entry, Counts>()

  /** The list matters only to the next start: a full disk does not stop a login. */
  async function save(): Promise<void> {
    const ports = [...entries.values()].map(({ record }) => record)
    try {
      await document.update(() => ({ ports }))
    } catch (error) {
      log.warn({ error }, 'the list of login ports was not written; a restart will not bind them again')
    }
  }

  async function bind(
    facts: Omit<PortRecord, 'port'>,
    {
      host,
      state,
      ...place
    }: {
      readonly host?: Host
      readonly state?: string
      readonly port?: number
      readonly isWhole?: boolean
    },
  ): Promise<Entry> {
    const { uiOrigin, stateHash } = facts
    let entry: Entry | undefined
    const listener = await openCallback(
      {
        uiOrigin,
        ...defined({ state, stateHash }),
        onDelivery: (key, via) => entry !== undefined && deliver(entry, key, via),
        onFailure: (reason) => entry?.host?.onFailure(reason) ?? false,
        onRefused: (why) => entry !== undefined && refuse(entry, why),
      },
      place,
    )
    entry = { record: { ...facts, port: listener.port }, listener, late: [], ...defined({ host }) }
    counts.set(entry, { seen: new Set(), refusedBy: new Map() })
    entries.set(listener.port, entry)
    return entry
  }

  function countsOf(entry: Entry): Counts {
    return counts.get(entry) ?? { seen: new Set(), refusedBy: new Map() }
  }

  function deliver(entry: Entry, key: Secret, via: 'get' | 'post'): boolean {
    const { seen } = countsOf(entry)
    const isTaken = entry.host?.onDelivery(key, via) ?? false
    const mark = key.fingerprint()
    const isKnown = seen.has(mark)
    seen.add(mark)
    if (isTaken || isKnown || entry.late.length >= MAX_LATE_KEYS) return isTaken
    entry.late = [...entry.late, key]
    const { profile, port } = entry.record
    const isOver = entry.host === undefined
    if (isOver) log.warn({ profile, port }, 'a key arrived after the login had ended')
    onLate(profile, { port, isOver })
    return false
  }

  function refuse(entry: Entry, why: string): void {
    if (entry.host !== undefined) {
      entry.host.onRefused(why)
      return
    }
    const { refusedBy } = countsOf(entry)
    refusedBy.set(why, Math.min(MAX_COUNT, (refusedBy.get(why) ?? 0) + 1))
  }

  function keep(entry: Entry, ms: number): void {
    delete entry.host
    // A clock that was set back must not keep a port for longer.
    const leftMs = Math.min(ms, KEEP_PORT_MS)
    entry.record = { ...entry.record, until: clock.now() + leftMs }
    entry.timer = clock.after(leftMs, () => void drop(entry).then(save))
    // Insertion order is the order in which they ended.
    entries.delete(entry.record.port)
    entries.set(entry.record.port, entry)
    for (const surplus of keptEntries().slice(0, -MAX_KEPT_PORTS)) void drop(surplus)
  }

  /** Prefect names no id for a key that a browser delivered, so an unused one can only be left to expire. */
  async function drop(entry: Entry): Promise<void> {
    const { port, profile } = entry.record
    entry.timer?.cancel()
    entries.delete(port)
    const unused = entry.late.length
    entry.late = []
    const refused = Object.fromEntries(countsOf(entry).refusedBy)
    if (unused > 0) log.warn({ profile, port, unused, refused }, 'late keys were not used; left to expire')
    else log.info({ profile, port, refused }, 'port of an ended login closed')
    await closeListener(entry)
  }

  async function closeListener({ listener }: Entry): Promise<void> {
    await listener.close().catch((error: unknown) => log.error({ error }, 'closing a login port failed'))
  }

  function keptEntries(): readonly Entry[] {
    return [...entries.values()].filter(({ host }) => host === undefined)
  }

  async function rebind(record: PortRecord): Promise<void> {
    const { port, profile, until } = record
    const leftMs = until - clock.now()
    if (leftMs <= 0) return
    try {
      const { port: wanted, ...facts } = record
      keep(await bind(facts, { port: wanted }), leftMs)
    } catch (error) {
      log.warn(
        { profile, port, error },
        'another program may receive a late key: the port of an ended login is taken; close its browser tab',
      )
    }
  }

  return {
    async open({ profile, cloudApiUrl, uiOrigin, state, wanted }, host) {
      const until = clock.now() + pendingMs + KEEP_PORT_MS
      const stateHash = state === undefined ? undefined : hashState(state)
      const facts = { profile, cloudApiUrl, uiOrigin, until, ...defined({ stateHash }) }
      const place = wanted === undefined ? {} : { port: wanted, isWhole: true }
      const entry = await bind(facts, { host, ...place, ...defined({ state }) })
      // Durable before the URL exists: a daemon that is killed binds the port again.
      await save()
      return {
        callbackUrl: entry.listener.callbackUrl,
        port: entry.record.port,
        release() {
          if (entry.host === undefined || !entries.has(entry.record.port)) return
          keep(entry, KEEP_PORT_MS)
          void save()
        },
      }
    },
    async resume() {
      const { ports } = document.read()
      if (ports.length === 0) return
      for (const record of ports.slice(-MAX_KEPT_PORTS)) await rebind(record)
      await save()
    },
    lateKeys: (profile, cloudApiUrl) =>
      [...entries.values()]
        .filter(({ record }) => record.profile === profile && record.cloudApiUrl === cloudApiUrl)
        .flatMap(({ late }) => late),
    forget(key) {
      for (const entry of entries.values()) entry.late = entry.late.filter((one) => !one.equals(key))
    },
    loginAt(port) {
      const entry = entries.get(port)
      return entry && { profile: entry.record.profile, isOver: entry.host === undefined }
    },
    kept: () =>
      keptEntries().map((entry) => ({
        port: entry.record.port,
        profile: entry.record.profile,
        until: entry.record.until,
        lateKeys: entry.late.length,
        refusedBy: Object.fromEntries(countsOf(entry).refusedBy),
      })),
    async close() {
      await document.update((current) => current).catch(() => undefined)
      const open = [...entries.values()]
      for (const { timer } of open) timer?.cancel()
      entries.clear()
      await Promise.all(open.map(closeListener))
    },
  }
}

/** What `status` says about late keys. */
export function lateKeyNotices(ports: readonly KeptPort[]): readonly string[] {
  const profiles = new Set(ports.filter(({ lateKeys }) => lateKeys > 0).map(({ profile }) => profile))
  return [...profiles].map(
    (profile) =>
      `a key for profile ${quoteWord(profile)} arrived after the login had ended; run: ${loginCommand(profile)}`,
  )
}
