/**
 * Lets the tokens of jobs grow older, and ends those whose profile was deleted or renamed: such a job is told to wait, as the
 * file may be in somebody's editor, but not for ever. Its token dies, and the job of the 401 that Prefect's clients know.
 */

import type { Audit } from '../audit/audit.js'
import { isBrokerError } from '../base/errors.js'
import type { Credentials } from '../serve/credentials.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { TokenFacts, Tokens } from '../tokens/tokens.js'

interface MindJobsDeps {
  readonly tokens: Pick<Tokens, 'list' | 'revoke' | 'age'>
  readonly credentials: Pick<Credentials, 'state' | 'reading'>
  readonly audit: Audit
  readonly clock: Clock
  readonly log: Log
}

/** For so long a profile may be away, while the daemon is awake and the file is good. */
export const AWAY_MS = 600_000

/** The answer is called when the daemon was awake for `ms` more; it rejects where tokens could not be taken off the disk. */
export function createJobMinder(deps: MindJobsDeps): (ms: number) => Promise<void> {
  const { tokens, credentials, clock } = deps
  const awaySince = new Map<string, number>()
  return async (ms) => {
    await tokens.age(ms)
    // Where the file can't be read, nothing says that a profile is gone.
    if (credentials.reading().state !== 'good') return awaySince.clear()
    const now = clock.monotonic()
    const orphans = tokens
      .list()
      .filter(({ isJob, profiles }) => isJob && profiles.every((name) => isAway(credentials, name)))
    const ids = new Set(orphans.map(({ id }) => id))
    for (const id of awaySince.keys()) if (!ids.has(id)) awaySince.delete(id)
    for (const orphan of orphans) {
      const since = awaySince.get(orphan.id) ?? now
      awaySince.set(orphan.id, since)
      if (now - since >= AWAY_MS) await end(orphan, deps)
    }
  }
}

function isAway(credentials: MindJobsDeps['credentials'], name: string): boolean {
  if (name === '*') return false
  try {
    credentials.state(name)
    return false
  } catch (error) {
    if (isBrokerError(error, 'profile_not_found')) return true
    throw error
  }
}

async function end({ id, name, profiles }: TokenFacts, { tokens, audit, log }: MindJobsDeps): Promise<void> {
  try {
    await tokens.revoke(id)
  } catch (error) {
    // Somebody was faster.
    if (isBrokerError(error, 'token_not_found')) return
    throw error
  }
  const [profile = ''] = profiles
  log.warn({ profile, token: name }, 'the profile of a job is gone, and its token with it')
  audit.record({
    action: 'token_revoked',
    outcome: 'done',
    door: 'daemon',
    profile,
    tokenId: id,
    tokenName: name,
  })
}
