/** Keys of ours that turn up in another profile of the file: known by their fingerprint, served and renewed as what they are. */

import { isBrokerError } from '../base/errors.js'
import type { Changes } from '../keys/change.js'
import type { KeyKeeper } from '../keys/keeper.js'
import {
  currentKey,
  type KeyRecord,
  type ProfileRecord,
  profileRecord,
  profilesServing,
} from '../keys/ledger.js'
import { type CloudApi, verifyKey } from '../prefect/cloud.js'
import type { Credentials, ProfileState } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'

interface RecogniserParts {
  readonly changes: Changes
  readonly keeper: KeyKeeper
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly now: () => number
  readonly log: Log
  /** Brings what is served up to date. */
  readonly settle: () => Promise<void>
}

/** What a profile is tied to, and whose it is. */
interface Tie {
  /** A key of the vault. */
  readonly record: KeyRecord
  /** The profile whose current key that is, whatever it is when the profile is tied to it. */
  readonly heir?: string
  readonly patch: Partial<Pick<ProfileRecord, 'owner' | 'workspaces'>>
}

/**
 * Ties a profile whose table contains a key of ours to that key's record: the file stays as it is. An older key is tied to
 * the one that has replaced it, if both are the same user's. Never rejects; what fails now is tried at the next look.
 */
export function createRecogniser({ changes, keeper, credentials, cloud, now, log, settle }: RecogniserParts) {
  async function findTie(name: string, key: Secret, found: KeyRecord): Promise<Tie> {
    const ledger = keeper.ledger()
    const [user] = profilesServing(ledger, found.item)
    if (user !== undefined) return { record: found, heir: user, patch: known(profileRecord(ledger, user)) }
    const { profile: heir, cloudApiUrl, userId } = found
    const next = currentKey(ledger, heir)
    const { owner } = profileRecord(ledger, heir)
    const isHeir = next?.cloudApiUrl === cloudApiUrl && owner !== undefined
    if (isHeir && owner.id === userId)
      return { record: next, heir, patch: known(profileRecord(ledger, heir)) }
    const patch = await verifyKey(cloud, { cloudApiUrl, key, profile: name })
    return isHeir && owner.id === patch.owner.id ? { record: next, heir, patch } : { record: found, patch }
  }

  /** The key in the profile's table, if it is ours and the profile has no good key of its own. */
  function findOwn({ resolved, keySource }: ProfileState) {
    const { fileKey, name, cloudApiUrl } = resolved
    if (keySource !== 'file' || fileKey === undefined) return undefined
    const found = keeper.find(fileKey, cloudApiUrl)
    if (found === undefined || found.rejectedAt !== undefined) return undefined
    // What the user wrote there is served as it is; the key in the vault may be the only one of somebody else.
    const own = keeper.current(name)
    if (own !== undefined && own.rejectedAt === undefined) return undefined
    return { key: fileKey, found }
  }

  return async (state: ProfileState): Promise<void> => {
    if (findOwn(state) === undefined) return
    const { name } = state.resolved
    try {
      await changes.run([name], async () => {
        await settle()
        const own = findOwn(credentials.state(name))
        if (own === undefined) return { act: 'recognise' }
        const { record, heir, patch } = await findTie(name, own.key, own.found)
        const tie = { profile: name, item: record.item, at: now(), ...patch, ...defined({ heir }) }
        return { act: 'recognise', outcome: { tie } }
      })
      log.info({ profile: name, fingerprint: keeper.current(name)?.fingerprint }, 'own key recognised')
    } catch (error) {
      if (!isBrokerError(error)) throw error
      log.warn({ profile: name, error }, 'own key in profiles.toml not recognised; will retry')
    }
  }
}

function known({ owner, workspaces }: ProfileRecord): Tie['patch'] {
  return { workspaces, ...defined({ owner }) }
}
