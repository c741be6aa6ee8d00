/** Keys at Prefect: listed as far as its API allows, created with a name and an expiry, deleted by id. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Disposal } from '../keys/disposal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type KeyFacts, type KeyRecord, keyFacts, profilesServing } from '../keys/ledger.js'
import { findMade, type MadeKey } from '../keys/made.js'
import { sharedBy, shareKeeping, shareOf } from '../keys/shared.js'
import type { Turns } from '../keys/turns.js'
import type { CloudApi, CloudKey } from '../prefect/cloud.js'
import type { ServerTimes } from '../prefect/server-time.js'
import { shownName } from '../profiles/bundled.js'
import { type Credentials, type Served, target } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import { quoteWord } from '../std/text.js'
import { findKeyInUse, type KeyInUse } from './key-in-use.js'
import { createMadeKeys } from './made-keys.js'

/** A key that only Prefect lists has no fingerprint and no origin. Times in epoch ms. */
export interface KeyEntry
  extends Omit<KeyFacts, 'fingerprint' | 'origin'>,
    Partial<Pick<KeyFacts, 'fingerprint' | 'origin'>> {
  readonly profile: string
  readonly state: 'current' | 'retired' | 'at_prefect'
  readonly isHandedOut?: boolean
  readonly retiredAt?: number
  /** The profile uses this share: other machines have the key, too. */
  readonly share?: string
}

export interface KeyAdmin {
  /**
   * The keys in the vault, those created here, and those that Prefect lists; `notices` say what cannot be listed. A key that was
   * created here is listed at once, and until Prefect says that it is gone.
   */
  list(profile?: string): Promise<{ readonly keys: readonly KeyEntry[]; readonly notices: readonly string[] }>
  /**
   * `expiresAt`: epoch ms; absent: never expires. Rejects with `bad_request` for a time that is past, `key_minting_refused`, or as
   * `CloudApi` does. If the answer of Prefect is lost, `list` says that a key of this name may exist.
   */
  create(wanted: { readonly profile?: string; readonly name: string; readonly expiresAt?: number }): Promise<{
    readonly profile: string
    readonly id: string
    readonly name: string
    readonly key: Secret
    readonly expiresAt?: number
  }>
  /**
   * Rejects with `key_not_found` for a key that Prefect does not have, and `profile_in_use` for one that is served, is in the
   * profile file, or, without `isSure`, may be one of these: a key from a browser or a file has no known id. `already_gone`:
   * a key that we knew was deleted before. `forgotten`: a service account's, which nobody can delete alone: only our copy is gone.
   */
  delete(
    id: string,
    options?: { readonly profile?: string; readonly isSure?: boolean },
  ): Promise<'deleted' | 'already_gone' | 'forgotten'>
}

interface KeyAdminParts {
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly keeper: KeyKeeper
  readonly disposal: Pick<Disposal, 'isInUse'>
  readonly turns: Turns
  readonly times: ServerTimes
  readonly newId: () => string
  readonly log: Log
}

export function createKeyAdmin(parts: KeyAdminParts): KeyAdmin {
  const { credentials, cloud, keeper, turns } = parts
  const madeKeys = createMadeKeys(parts)

  return {
    async list(profile) {
      const { resolved, outcome } = credentials.state(profile)
      const { name } = resolved
      const records = Object.values(keeper.ledger().keys).filter(
        (record) => profile === undefined || record.profile === name,
      )
      const ours = records.map((record) => entryOf(keeper, record))
      const atPrefect = outcome.kind === 'served' ? await listAtPrefect(parts, outcome.served) : []
      const made = await madeKeys.list(profile === undefined ? undefined : name, atPrefect)
      const isShown = (id?: string) => id !== undefined && ours.some((entry) => entry.id === id)
      const others = (atPrefect ?? []).filter(({ id }) => !isShown(id))
      const created = made.filter(({ id }) => !isShown(id) && !others.some((other) => other.id === id))
      return {
        keys: [
          ...ours,
          ...others.map((key) => foreignEntry(name, key)),
          ...created.flatMap((key) => madeEntry(key) ?? []),
        ],
        notices: [
          ...(atPrefect === undefined ? [NO_LIST] : []),
          ...created.filter(({ id }) => id === undefined).map(lostNotice),
        ],
      }
    },
    async create({ profile, name, expiresAt }) {
      const served = credentials.serve(profile)
      const userId = () => userIdOf(parts, served)
      const minted = await madeKeys.mint(served, userId, { name, ...defined({ expiresAt }) })
      return {
        profile: served.profile,
        id: minted.id,
        name: minted.name,
        key: minted.key,
        ...defined({ expiresAt: minted.expiresAt }),
      }
    },
    async delete(id, { profile, isSure = false } = {}) {
      const served = credentials.serve(profile)
      const asked = target(credentials, served)
      const { cloudApiUrl } = asked
      const isIt = (key: { readonly cloudApiUrl: string }, its: string | undefined) =>
        its === id && key.cloudApiUrl === cloudApiUrl
      const records = () =>
        Object.values(keeper.ledger().keys).filter((record) => isIt(record, record.cloudId))
      const made = () => Object.values(keeper.ledger().made ?? {}).find((one) => isIt(one, one.id))
      const names = [served.profile, ...records().map((record) => record.profile)]
      if (records().some(isOfServiceAccount)) {
        return turns.run(names, async () => forgetHere(keeper, id, records().filter(isOfServiceAccount)))
      }
      const userId = await userIdOf(parts, served)
      return turns.run(names, async () => {
        const read = await cloud.readKey(asked, userId, id)
        const { fingerprint } = made() ?? records()[0] ?? {}
        const key = { id, userId, cloudApiUrl, ...defined({ fingerprint, read }) }
        const used = findKeyInUse(parts, key)
        if (used !== undefined && (used.isCertain || !isSure)) throw inUse(id, used)
        const isKnown = made() !== undefined || records().length > 0
        if (read === undefined && !isKnown) throw notFound(id, served.profile)
        const outcome = await cloud.deleteKey(asked, userId, id)
        for (const { item } of records()) await keeper.forget(item)
        await madeKeys.forget((one) => isIt(one, one.id))
        return outcome
      })
    },
  }
}

const isOfServiceAccount = ({ origin, userId }: KeyRecord) =>
  origin === 'service_account' && userId === undefined

async function forgetHere(
  keeper: KeyKeeper,
  id: string,
  records: readonly KeyRecord[],
): Promise<'forgotten'> {
  const ledger = keeper.ledger()
  const [profile] = records.flatMap(({ item }) => profilesServing(ledger, item))
  if (profile !== undefined) throw inUse(id, { profile, isCertain: true }, shareOf(ledger, profile))
  // The only copy of a key that no other machine has yet.
  const [share] = records.flatMap(({ item }) => shareKeeping(ledger, item) ?? [])
  if (share !== undefined) throw notPublished(id, share)
  for (const { item } of records) await keeper.forget(item)
  return 'forgotten'
}

function notPublished(id: string, share: string): BrokerError {
  return new BrokerError('profile_in_use', `key ${id} is about to become the one of share ${share}`, {
    hint: 'prefect-auth share status',
  })
}

function inUse(id: string, { profile, isCertain }: KeyInUse, share?: string): BrokerError {
  if (profile === undefined) {
    return new BrokerError(
      'profile_in_use',
      `key ${id} may be in profiles.toml, which could not be read yet`,
      {
        hint: 'prefect-auth doctor',
      },
    )
  }
  const name = shownName(profile)
  if (isCertain) {
    return new BrokerError('profile_in_use', `key ${id} is the one being used by profile ${name}`, {
      hint:
        share === undefined
          ? `prefect-auth logout --revoke --profile ${quoteWord(profile)}`
          : `prefect-auth share leave ${share} --profile ${quoteWord(profile)}`,
    })
  }
  return new BrokerError(
    'profile_in_use',
    `key ${id} may be the one being used by profile ${name}: Prefect never told the id of that key`,
    { hint: `prefect-auth keys delete ${quoteWord(id)} --yes      (if it is another one)` },
  )
}

function notFound(id: string, profile: string): BrokerError {
  return new BrokerError(
    'key_not_found',
    `there is no key ${id} of the user whose key profile ${shownName(profile)} has`,
    { hint: 'prefect-auth keys ls' },
  )
}

const NO_LIST =
  'Prefect Cloud has no documented way to list keys: only those known to this machine are shown; see all of them at /my/api-keys in the Prefect UI'

function lostNotice({ name }: MadeKey): string {
  return `the answer to the creation of key '${name}' was lost: if it is at /my/api-keys in the Prefect UI, delete it there`
}

/** Keys belong to users; the owner of a key from the file is not known yet. */
async function userIdOf({ keeper, cloud, credentials }: KeyAdminParts, served: Served): Promise<string> {
  const { owner } = keeper.profile(served.profile)
  if (owner?.kind === 'user' && served.item !== undefined) return owner.id
  try {
    return (await cloud.me(target(credentials, served))).id
  } catch (error) {
    if (!isBrokerError(error, 'prefect_forbidden')) throw error
    throw new BrokerError(
      'key_minting_refused',
      "the key of this profile is a service account's; only users can manage their keys",
      {
        hint: 'prefect-auth service-account ls --profile NAME      (the profile of an account Admin)',
        cause: error,
      },
    )
  }
}

/** Undefined if Prefect cannot be asked, or does not list keys. */
async function listAtPrefect(parts: KeyAdminParts, served: Served): Promise<readonly CloudKey[] | undefined> {
  if (served.kind !== 'cloud') return []
  try {
    return await parts.cloud.listKeys(target(parts.credentials, served), await userIdOf(parts, served))
  } catch (error) {
    // Our own keys can be shown without Prefect.
    if (error instanceof BrokerError) return undefined
    throw error
  }
}

/** A key that was created here and then brought back, by a login or in the file, has the id that it was created with. */
function entryOf(keeper: KeyKeeper, record: KeyRecord): KeyEntry {
  const isCurrent = profilesServing(keeper.ledger(), record.item).length > 0
  const made = record.cloudId === undefined ? findMade(keeper.ledger(), record) : undefined
  const known = made && defined({ id: made.id, name: made.name, expiresAt: made.expiresAt })
  return {
    ...keyFacts(record),
    ...known,
    profile: record.profile,
    state: isCurrent ? 'current' : 'retired',
    isHandedOut: record.handedOut,
    ...defined({ retiredAt: record.retiredAt, share: sharedBy(keeper.ledger(), record) }),
  }
}

function foreignEntry(profile: string, { id, name, createdAt, expiresAt }: CloudKey): KeyEntry {
  return {
    profile,
    state: 'at_prefect',
    id,
    name,
    ...defined({ issuedAt: createdAt, expiresAt }),
  }
}

function madeEntry({ id, profile, name, startedAt, fingerprint, expiresAt }: MadeKey): KeyEntry | undefined {
  if (id === undefined) return undefined
  const known = defined({ fingerprint, expiresAt })
  return { profile, state: 'at_prefect', id, name, issuedAt: startedAt, ...known }
}
