/** The shares of this machine: which profiles they serve, and what a person does with them. */

import { BrokerError } from '../base/errors.js'
import type { Shares as ShareSettingsByName } from '../config/shares.js'
import { keysOf } from '../keys/ledger.js'
import { type ShareRecord, shareOf, shareRecord, withoutTie, withShare } from '../keys/shared.js'
import { shownName } from '../profiles/bundled.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'
import { quoteWord } from '../std/text.js'
import { adoptKey, giveKey, initShare, type NewShare, probeShare } from './acts.js'
import type { ShareParts, ShareStanding } from './context.js'
import type { ProbeFindings } from './probe.js'
import { createShare, type Share } from './share.js'
import type { ShareStore, StoreFinding } from './store.js'

/** A share of config.toml, and what is known of it here. */
export interface ShareFacts extends ShareStanding {
  readonly name: string
  readonly where: string
  /** The profile whose key rotates; absent: this machine only reads. */
  readonly rotateWith?: string
  readonly record?: ShareRecord
}

export interface ShareAdmin {
  list(): readonly ShareFacts[]
  /** What the store says of itself. Rejects as `ShareStore.examine` does. */
  examine(name: string): Promise<StoreFinding>
  /** The share whose key the profile is served. */
  of(profile: string): string | undefined
  /** Makes the first key and puts it into the store. Rejects with `share_exists`, `share_pace_invalid`, or as Prefect and the store do. */
  init(name: string, wanted: NewShare): Promise<ShareFacts>
  /** Tries at Prefect what is not known of it, on a service account that nobody needs. Takes minutes; see `ProbeFindings`. */
  probe(name: string, serviceAccount: string | undefined, signal: AbortSignal): Promise<ProbeFindings>
  /** From now on the profile is served the shared key. Rejects, with nothing changed, if there is none yet. */
  use(name: string, profile: string): Promise<ShareFacts>
  /** Rotates as soon as every machine has the last key, also over a stranger's key. */
  rotate(name: string): Promise<ShareFacts>
  /** A key that a person has made at Prefect becomes the fleet's. */
  adopt(name: string, key: Secret): Promise<ShareFacts>
  /** The profile has no shared key afterwards; the fleet's lives on. Returns the fingerprints of what was forgotten here. */
  leave(name: string, profile: string): Promise<readonly string[]>
}

export interface Shares extends ShareAdmin {
  /** Begins to follow every share that a profile is tied to. */
  start(): void
  /** Whether a profile depends on a store: such a daemon does not exit when it is idle. */
  isActive(): boolean
  close(): Promise<void>
}

/** What shares need besides: their settings, and how a store is opened. */
export interface SharesParts extends ShareParts {
  readonly settings: ShareSettingsByName
  readonly openStore: (settings: ShareSettingsByName[string]) => ShareStore
  readonly hostname: string
}

export function createShares(parts: SharesParts): Shares {
  const { settings, openStore, keeper, credentials, changes, hostname, newId } = parts
  const open = new Map<string, Share>()

  const known = (name: string) => shareRecord(keeper.ledger(), name)

  /** The record is made when the share is first used. */
  async function shareNamed(name: string): Promise<Share> {
    const found = Object.hasOwn(settings, name) ? settings[name] : undefined
    if (found === undefined) throw notFound(name)
    if (known(name) === undefined) {
      const record = { machine: `${hostname} ${newId()}`, profiles: [], kept: [], intents: [] }
      await keeper.apply((ledger) => withShare(ledger, name, record))
    }
    const share = open.get(name) ?? createShare(parts, { name, settings: found, store: openStore(found) })
    open.set(name, share)
    return share
  }

  function facts(name: string): ShareFacts {
    const found = settings[name]
    const share = open.get(name)
    const where =
      share?.context.store.where ?? (found === undefined ? '' : `${found.url}, ${found.mount}/${found.path}`)
    const standing = share?.standing() ?? { standing: 'unread' as const }
    return { name, where, ...standing, ...defined({ rotateWith: found?.rotateWith, record: known(name) }) }
  }

  /** The profile can be served a shared key. Throws why not. */
  function requireFree(name: string, profile: string): void {
    const { resolved, keySource } = credentials.state(profile)
    if (resolved.kind !== 'cloud' || resolved.workspace === undefined) {
      throw new BrokerError('workspace_required', `profile ${shownName(profile)} names no workspace`, {
        hint: `prefect-auth profile set ${quoteWord(profile)} --api-url URL`,
      })
    }
    const other = shareOf(keeper.ledger(), profile)
    const isTaken = keySource === 'file' || keeper.current(profile) !== undefined
    if ((other !== undefined && other !== name) || (other === undefined && isTaken)) {
      throw new BrokerError('profile_in_use', `profile ${shownName(profile)} has a key already`, {
        hint: `prefect-auth logout --profile ${quoteWord(profile)}, or another profile`,
      })
    }
  }

  const tie = (share: Share, change: (profiles: readonly string[]) => readonly string[]) =>
    share.context.keep((record) => ({ ...record, profiles: change(record.profiles) }))

  return {
    list: () => Object.keys(settings).map(facts),
    examine: async (name) => (await shareNamed(name)).context.store.examine(),
    of: (profile) => shareOf(keeper.ledger(), profile),
    async init(name, wanted) {
      await credentials.refresh()
      const share = await shareNamed(name)
      try {
        await initShare(share.context, wanted)
      } finally {
        // Another machine may have been faster: then this one has the newest key, and publishes it.
        if (share.context.record().kept.length > 0) await share.look()
      }
      return facts(name)
    },
    async probe(name, serviceAccount, signal) {
      await credentials.refresh()
      return probeShare((await shareNamed(name)).context, serviceAccount, signal)
    },
    async use(name, profile) {
      await credentials.refresh()
      if (!Object.hasOwn(settings, name)) throw notFound(name)
      requireFree(name, profile)
      const share = await shareNamed(name)
      if (share.context.record().profiles.includes(profile)) return facts(name)
      const isFirst = share.context.record().held === undefined
      await tie(share, (profiles) => [...profiles, profile])
      const { document, trouble } = await share.look()
      try {
        const { cloudApiUrl } = credentials.state(profile).resolved
        if (document !== undefined && document.apiUrl !== cloudApiUrl)
          throw otherHost(profile, document.apiUrl)
        if (trouble !== undefined && document === undefined) throw trouble
        if (!isFirst) await giveKey(share.context, profile)
        // A key that is served is enough, whatever else failed in the pass.
        else if (share.context.record().held === undefined) {
          throw trouble ?? new BrokerError('key_rejected', 'Prefect does not accept the shared key')
        }
      } catch (error) {
        await keeper.apply((ledger) => withoutTie(ledger, profile))
        throw error
      }
      return facts(name)
    },
    async rotate(name) {
      const share = await shareNamed(name)
      requireRotator(name, share)
      await share.want()
      return facts(name)
    },
    async adopt(name, key) {
      const share = await shareNamed(name)
      requireRotator(name, share)
      await share.look()
      await adoptKey(share.context, share.standing(), key)
      await share.look()
      return facts(name)
    },
    async leave(name, profile) {
      if (shareOf(keeper.ledger(), profile) !== name) {
        throw new BrokerError(
          'share_not_found',
          `profile ${shownName(profile)} does not use share ${shownName(name)}`,
        )
      }
      let gone: readonly string[] = []
      await changes.run([profile], async () => {
        const records = keysOf(keeper.ledger(), profile).filter(({ origin }) => origin === 'service_account')
        gone = records.map(({ fingerprint }) => fingerprint)
        const items = records.map(({ item }) => item)
        return { act: 'leave_share', outcome: { forget: { profile, items, heirs: {} } } }
      })
      await keeper.apply((ledger) => {
        const record = shareRecord(ledger, name)
        if (record === undefined) return ledger
        const kept = record.kept.filter(({ item }) => ledger.keys[item] !== undefined)
        // A key that is not published yet is published by this machine, also without a profile.
        const isNeeded = record.profiles.length > 0 || kept.length > 0
        return withShare(ledger, name, isNeeded ? { ...record, kept } : undefined)
      })
      if (known(name) !== undefined) return gone
      await open.get(name)?.close()
      open.delete(name)
      return gone
    },
    start() {
      for (const name of Object.keys(settings)) {
        if (known(name) === undefined || open.has(name)) continue
        void shareNamed(name).then((share) => share.look())
      }
    },
    isActive: () => open.size > 0,
    async close() {
      await Promise.all([...open.values()].map((share) => share.close()))
    },
  }
}

function requireRotator(name: string, { context }: Share): void {
  if (context.settings.rotateWith !== undefined) return
  throw new BrokerError(
    'share_rotation_refused',
    `this machine may not rotate the key of share ${shownName(name)}`,
    {
      hint: `set rotate = true and rotate_with in [share.${name}] of config.toml, or do it on a machine that has them`,
    },
  )
}

function notFound(name: string): BrokerError {
  return new BrokerError('share_not_found', `config.toml has no share ${shownName(name)}`, {
    hint: `add [share.${name}] to config.toml and restart prefect-authd`,
  })
}

function otherHost(profile: string, apiUrl: string): BrokerError {
  return new BrokerError(
    'share_mismatch',
    `the shared key belongs to ${apiUrl}, and profile ${shownName(profile)} points at another host`,
  )
}
