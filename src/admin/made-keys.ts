/** Keys created at Prefect for use elsewhere: noted before Prefect is asked, listed until they are gone. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type MadeKey, withMade, withoutMade } from '../keys/made.js'
import { CERTAINLY_NOT_MINTED } from '../keys/rotate.js'
import type { CloudApi, CloudKey, MintedKey } from '../prefect/cloud.js'
import type { ServerTimes } from '../prefect/server-time.js'
import { type Credentials, type Served, target } from '../serve/credentials.js'
import { DAY_MS, MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'

export interface MadeKeyBook {
  /** `findUser` rejects with whatever keeps the profile from creating keys. See `KeyAdmin.create`. */
  mint(
    served: Served,
    findUser: () => Promise<string>,
    wanted: { readonly name: string; readonly expiresAt?: number },
  ): Promise<MintedKey>
  /** The made keys of this profile, or all, that exist as far as is known; what is certainly gone is forgotten. `listed`: what Prefect lists. */
  list(profile: string | undefined, listed: readonly CloudKey[] | undefined): Promise<readonly MadeKey[]>
  forget(isGone: (key: MadeKey) => boolean): Promise<void>
}

/** How long after its creation Prefect may not show a key yet. */
const LAG_MS = 10 * MINUTE_MS
/** How long it is said that a key may exist whose answer was lost. */
const LOST_MS = 30 * DAY_MS

export function createMadeKeys({
  credentials,
  cloud,
  keeper,
  times,
  newId,
  log,
}: {
  readonly credentials: Credentials
  readonly cloud: Pick<CloudApi, 'createKey' | 'readKey'>
  readonly keeper: Pick<KeyKeeper, 'ledger' | 'apply' | 'accept'>
  readonly times: ServerTimes
  readonly newId: () => string
  readonly log: Log
}): MadeKeyBook {
  async function note(change: Parameters<KeyKeeper['accept']>[0]): Promise<void> {
    await keeper.accept(change).catch((error: unknown) => log.warn({ error }, 'made key not noted'))
  }

  const mint: MadeKeyBook['mint'] = async (served, findUser, wanted) => {
    const asked = target(credentials, served)
    const { cloudApiUrl } = asked
    const startedAt = times.of(cloudApiUrl).clock.now()
    if (wanted.expiresAt !== undefined && wanted.expiresAt <= startedAt) throw endsBefore(wanted.expiresAt)
    const userId = await findUser()
    const { name } = wanted
    const made: MadeKey = { name, profile: served.profile, cloudApiUrl, userId, startedAt }
    const ours = newId()
    // Durable before Prefect is asked: a key whose answer is lost would be known to nobody.
    await keeper.apply((ledger) => withMade(ledger, ours, made))
    try {
      const minted = await cloud.createKey(asked, userId, wanted)
      await note((ledger) => withMade(ledger, ours, { ...made, ...identityOf(minted) }))
      return minted
    } catch (error) {
      if (isBrokerError(error, ...CERTAINLY_NOT_MINTED)) {
        await note((ledger) => withoutMade(ledger, (_, one) => one === ours))
      }
      throw error
    }
  }

  const list: MadeKeyBook['list'] = async (profile, listed) => {
    const all = Object.values(keeper.ledger().made ?? {}).filter(
      (made) => profile === undefined || made.profile === profile,
    )
    const isKept = await Promise.all(all.map((made) => isThere(made, listed)))
    const gone = all.filter((_, index) => isKept[index] !== true)
    if (gone.length > 0) await note((ledger) => withoutMade(ledger, (made) => gone.includes(made)))
    return all.filter((_, index) => isKept[index])
  }

  async function isThere(made: MadeKey, listed: readonly CloudKey[] | undefined): Promise<boolean> {
    const { id, profile, cloudApiUrl, userId, startedAt, expiresAt } = made
    const now = times.of(cloudApiUrl).clock.now()
    if (id === undefined) return now < startedAt + LOST_MS
    if (expiresAt !== undefined && expiresAt < now) return false
    if (now < startedAt + LAG_MS || listed?.some((key) => key.id === id) === true) return true
    try {
      const asked = target(credentials, credentials.serve(profile))
      if (asked.cloudApiUrl !== cloudApiUrl) return true
      return (await cloud.readKey(asked, userId, id)) !== undefined
    } catch (error) {
      // Not asked, or not answered: what was created is still listed.
      if (error instanceof BrokerError) return true
      throw error
    }
  }

  return { mint, list, forget: (isGone) => note((ledger) => withoutMade(ledger, isGone)) }
}

function endsBefore(at: number): BrokerError {
  const time = new Date(at).toISOString()
  return new BrokerError('bad_request', `cannot create a key that expires at ${time}: that time is past`, {
    hint: 'check the date and the clock: prefect-auth doctor',
  })
}

function identityOf({ id, name, key, expiresAt }: MintedKey): Partial<MadeKey> & { readonly id: string } {
  return { id, name, fingerprint: key.fingerprint(), ...defined({ expiresAt }) }
}
