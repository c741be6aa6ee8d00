/** Profiles that another program has renamed (`prefect profile rename`): what we hold for the old name follows. */

import { isBrokerError } from '../base/errors.js'
import type { Changes } from '../keys/change.js'
import { tableDigest } from '../keys/file-edits.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { keysOf } from '../keys/ledger.js'
import type { ProfileFile, ProfileReading } from '../profiles/profile.js'
import type { Credentials } from '../serve/credentials.js'
import type { Log } from '../std/log.js'

interface RenameParts {
  readonly changes: Changes
  readonly keeper: KeyKeeper
  readonly credentials: Pick<Credentials, 'state'>
  readonly log: Log
}

interface Rename {
  readonly from: string
  readonly to: string
}

/**
 * Call the result with two readings of the file, one after the other; without the one before at the first look of a daemon.
 * A rename is one table that went and one that came and says the same; what was done while no daemon ran is one if the new
 * profile has never been seen and leads to a workspace of the key. Never rejects.
 */
export function createRenameFollower({ changes, keeper, credentials, log }: RenameParts) {
  const isWaiting = (name: string) => keeper.profile(name).currentItem !== undefined

  const isFree = ({ profiles }: ProfileFile, name: string): boolean => {
    const { apiKey, authString } = profiles.get(name) ?? {}
    const { currentItem, authItem } = keeper.profile(name)
    const isEmpty =
      currentItem === undefined && authItem === undefined && keysOf(keeper.ledger(), name).length === 0
    return isEmpty && apiKey === undefined && authString === undefined
  }

  function findSeen(before: ProfileFile, now: ProfileFile): Rename | undefined {
    const gone = [...before.profiles.keys()].filter((name) => !now.profiles.has(name))
    const come = [...now.profiles.keys()].filter((name) => !before.profiles.has(name))
    const [from, to] = [gone[0], come[0]]
    if (from === undefined || to === undefined || gone.length > 1 || come.length > 1) return undefined
    const { currentItem, authItem } = keeper.profile(from)
    const isHeld = currentItem !== undefined || authItem !== undefined
    const isSame = tableDigest(before, from) === tableDigest(now, to)
    return isHeld && isSame && isFree(now, to) ? { from, to } : undefined
  }

  function findUnseen(now: ProfileFile): Rename | undefined {
    const gone = Object.keys(keeper.ledger().profiles).filter(
      (name) => !now.profiles.has(name) && isWaiting(name),
    )
    const [from] = gone
    const key = from === undefined ? undefined : keeper.current(from)
    if (from === undefined || gone.length > 1 || key === undefined) return undefined
    const { workspaces } = keeper.profile(from)
    const { generationsFrom = 0 } = keeper.ledger()
    const come = [...now.profiles.keys()].filter((name) => {
      const { resolved } = credentials.state(name)
      const isReached = workspaces.some(({ workspaceId }) => workspaceId === resolved.workspace?.workspaceId)
      // Its first answer is the one that was made just now.
      const isNew = keeper.profile(name).generation <= generationsFrom + 1 && isFree(now, name)
      return isNew && isReached && resolved.cloudApiUrl === key.cloudApiUrl && resolved.aliasOf === undefined
    })
    const [to] = come
    return to === undefined || come.length > 1 ? undefined : { from, to }
  }

  return async (before: ProfileReading | undefined, now: ProfileReading): Promise<void> => {
    if (now.state !== 'good') return
    const found = before === undefined ? findUnseen(now.file) : findSeen(before.file, now.file)
    if (found === undefined) return
    const { from, to } = found
    try {
      await changes.run([from, to], ({ file }) => {
        if (file.profiles.has(from) || !file.profiles.has(to) || !isFree(file, to)) return { act: 'rename' }
        return { act: 'rename', outcome: { rename: { from, to } } }
      })
      log.info({ profile: to, from }, 'profile was renamed; its keys follow')
    } catch (error) {
      if (!isBrokerError(error)) throw error
      log.warn({ profile: to, from, error }, 'keys of a renamed profile not moved')
    }
  }
}
