/** Hears every answer of Prefect to a call of ours, and keeps what each key is worth: good, doubted or rejected. */

import { isBrokerError } from '../base/errors.js'
import type { Events, EventType } from '../base/events.js'
import type { AccountApi } from '../prefect/account.js'
import type { CloudApi, CloudTarget } from '../prefect/cloud.js'
import type { ServerTimes } from '../prefect/server-time.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { KeyKeeper } from './keeper.js'
import type { KeyRecord } from './ledger.js'
import { GOOD, type Heard, judge, type Standing, stood } from './verdict.js'

type Cloud = CloudApi & AccountApi

export interface Verdicts {
  /** The same API; what Prefect answers is noted, durably, before the caller has it. */
  listen(cloud: Cloud): Cloud
  /** Prefect's own time is past the key's expiry, and it does not accept the key. Never rejects. */
  end(record: KeyRecord): Promise<void>
  /** Of any key, one in the profile file too. */
  of(cloudApiUrl: string, fingerprint: string): Standing['kind']
  /** Called after every change. */
  onChange(listener: () => void): () => void
}

/** Keys in the file, and claims of logins: they have no record, and there may be any number of them. */
const MOST_STRANGERS = 100

export function createVerdicts({
  keeper,
  events,
  times,
  clock,
  log,
}: {
  readonly keeper: Pick<KeyKeeper, 'index' | 'noteKey'>
  readonly events: Events
  readonly times: ServerTimes
  readonly clock: Clock
  readonly log: Log
}): Verdicts {
  /** Of this run, in awake ms; before the first answer, what the ledger says counts. */
  const standings = new Map<string, Standing>()
  const listeners = new Set<() => void>()

  const nameOf = (cloudApiUrl: string, fingerprint: string) => JSON.stringify([cloudApiUrl, fingerprint])

  const recordsOf = (cloudApiUrl: string, fingerprint: string): readonly KeyRecord[] =>
    keeper
      .index()
      .keysWith(fingerprint)
      .filter((record) => record.cloudApiUrl === cloudApiUrl)

  /** What an earlier run has noted, moved to this run's clock. */
  const remembered = (records: readonly KeyRecord[]): Standing => {
    if (records.some(({ rejectedAt }) => rejectedAt !== undefined)) return { kind: 'rejected' }
    const record = records.find(({ doubt }) => doubt !== undefined)
    if (record?.doubt === undefined) return GOOD
    const { since, last, refusals } = record.doubt
    const offset = clock.monotonic() - Math.max(last, times.of(record.cloudApiUrl).clock.now())
    return { kind: 'doubted', since: since + offset, last: last + offset, refusals }
  }

  async function hear(cloudApiUrl: string, fingerprint: string, heard: Heard): Promise<void> {
    const name = nameOf(cloudApiUrl, fingerprint)
    const records = recordsOf(cloudApiUrl, fingerprint)
    const before = standings.get(name) ?? remembered(records)
    const after = judge(before, heard)
    if (after === before && records.every((record) => isNoted(record, after))) return
    keep(name, after, records.length === 0)
    const now = times.of(cloudApiUrl).clock.now()
    const offset = now - clock.monotonic()
    for (const { item } of records) {
      try {
        await keeper.noteKey(item, (record) => stood(record, after, { offset, now }))
      } catch (error) {
        // Noted with the next answer: memory knows it until then.
        log.warn({ item, error }, 'standing of a key not noted; will retry')
      }
    }
    if (after.kind !== before.kind) announce(after.kind, fingerprint, records)
    for (const listener of listeners) listener()
  }

  function keep(name: string, standing: Standing, isStranger: boolean): void {
    standings.delete(name)
    if (standing.kind === 'good' && isStranger) return
    standings.set(name, standing)
    const [oldest] = standings.keys()
    if (standings.size > MOST_STRANGERS && oldest !== undefined) standings.delete(oldest)
  }

  function announce(kind: Standing['kind'], fingerprint: string, records: readonly KeyRecord[]): void {
    const profiles = new Set(
      records.filter(({ retiredAt }) => retiredAt === undefined).map(({ profile }) => profile),
    )
    for (const profile of profiles) {
      if (kind === 'good') log.info({ profile, fingerprint }, SAID[kind])
      else log.warn({ profile, fingerprint }, SAID[kind])
      events.emit(EVENTS[kind], { profile, facts: { fingerprint } })
    }
  }

  const ask = async <T>({ cloudApiUrl, key }: CloudTarget, call: () => Promise<T>): Promise<T> => {
    const askedAt = clock.monotonic()
    const fingerprint = key.fingerprint()
    try {
      const answer = await call()
      await hear(cloudApiUrl, fingerprint, { kind: 'accepted' })
      return answer
    } catch (error) {
      if (isBrokerError(error, 'key_rejected')) {
        await hear(cloudApiUrl, fingerprint, { kind: 'refused', askedAt, at: clock.monotonic() })
      }
      throw error
    }
  }

  return {
    listen: (cloud) => ({
      me: (target) => ask(target, () => cloud.me(target)),
      workspaces: (target) => ask(target, () => cloud.workspaces(target)),
      createKey: (target, ...more) => ask(target, () => cloud.createKey(target, ...more)),
      readKey: (target, ...more) => ask(target, () => cloud.readKey(target, ...more)),
      listKeys: (target, ...more) => ask(target, () => cloud.listKeys(target, ...more)),
      deleteKey: (target, ...more) => ask(target, () => cloud.deleteKey(target, ...more)),
      serviceAccounts: (target, ...more) => ask(target, () => cloud.serviceAccounts(target, ...more)),
      rotateServiceAccountKey: (target, ...more) =>
        ask(target, () => cloud.rotateServiceAccountKey(target, ...more)),
      createServiceAccount: (target, ...more) =>
        ask(target, () => cloud.createServiceAccount(target, ...more)),
      deleteServiceAccount: (target, ...more) =>
        ask(target, () => cloud.deleteServiceAccount(target, ...more)),
      workspaceRole: (target, ...more) => ask(target, () => cloud.workspaceRole(target, ...more)),
      shareWorkspace: (target, ...more) => ask(target, () => cloud.shareWorkspace(target, ...more)),
      memberRole: (target, ...more) => ask(target, () => cloud.memberRole(target, ...more)),
      accounts: (target) => ask(target, () => cloud.accounts(target)),
      createWorkspace: (target, ...more) => ask(target, () => cloud.createWorkspace(target, ...more)),
      close: () => cloud.close(),
    }),
    end: ({ cloudApiUrl, fingerprint }) => hear(cloudApiUrl, fingerprint, { kind: 'ended' }),
    of(cloudApiUrl, fingerprint) {
      const known = standings.get(nameOf(cloudApiUrl, fingerprint))
      return (known ?? remembered(recordsOf(cloudApiUrl, fingerprint))).kind
    },
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

const EVENTS: Readonly<Record<Standing['kind'], EventType>> = {
  good: 'key.accepted',
  doubted: 'key.doubted',
  rejected: 'key.rejected',
}
const SAID: Readonly<Record<Standing['kind'], string>> = {
  good: 'key accepted by Prefect again',
  doubted: 'key refused by Prefect; in doubt',
  rejected: 'key rejected by Prefect',
}

function isNoted({ doubt, rejectedAt }: KeyRecord, standing: Standing): boolean {
  switch (standing.kind) {
    case 'good':
      return doubt === undefined && rejectedAt === undefined
    case 'doubted':
      return doubt?.refusals === standing.refusals
    case 'rejected':
      return rejectedAt !== undefined
  }
}
