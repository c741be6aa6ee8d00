/** Which profiles are decided, and which of them are listed. */

import type { KeyKeeper } from '../keys/keeper.js'
import type { Ledger } from '../keys/ledger.js'
import type { CloudDefaults } from '../prefect/cloud.js'
import type { ProfileFile, ResolvedProfile } from '../profiles/profile.js'
import { listProfiles, resolveProfile } from '../profiles/resolve.js'
import { remembering } from '../std/remembering.js'
import type { ProfileState } from './credentials.js'

interface Resolved {
  readonly all: readonly ResolvedProfile[]
  readonly active: ResolvedProfile
}

/** Resolves the profiles of a file once, however often they are decided. */
export function createResolver(defaults: CloudDefaults): (file: ProfileFile) => Resolved {
  return remembering((file) => ({
    all: listProfiles({ file, defaults }),
    active: resolveProfile({ file, defaults }),
  }))
}

/**
 * Every profile of the file, the active one, and those with a record: a bundled profile that had a table once keeps counting,
 * since its old generation must not name another answer.
 */
export function profilesToServe({ all, active }: Resolved, { profiles }: Ledger): readonly ResolvedProfile[] {
  const wanted = all.filter(
    ({ name, source }) => source === 'file' || name === active.name || Object.hasOwn(profiles, name),
  )
  return wanted.some(({ name }) => name === active.name) ? wanted : [active, ...wanted]
}

interface Listing {
  readonly all: readonly ProfileState[]
  readonly byName: ReadonlyMap<string, ProfileState>
}

/** What `Credentials.states` returns, rebuilt only when something in it has changed. */
export function createListing(
  keeper: Pick<KeyKeeper, 'ledger'>,
): (states: ReadonlyMap<string, ProfileState>, active: string) => Listing {
  let last: { states: unknown; active: string; profiles: unknown; listing: Listing } | undefined
  return (states, active) => {
    const { profiles } = keeper.ledger()
    if (last?.states === states && last.active === active && last.profiles === profiles) return last.listing
    const all = [...states.values()].filter(
      ({ resolved: { source, name } }) => source === 'file' || name === active || hasSecret(profiles, name),
    )
    const listing = { all, byName: new Map(all.map((state) => [state.resolved.name, state])) }
    last = { states, active, profiles, listing }
    return listing
  }
}

/** The records of other profiles remain only so that their generation never goes back. */
function hasSecret(profiles: Ledger['profiles'], name: string): boolean {
  const record = Object.hasOwn(profiles, name) ? profiles[name] : undefined
  return record?.currentItem !== undefined || record?.authItem !== undefined
}
