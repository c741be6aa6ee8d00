/** Ages the tokens of jobs, and revokes those whose profile has been gone for too long. */

import type { Audit } from '../audit/audit.js'
import { isBrokerError } from '../base/errors.js'
import type { Credentials } from '../serve/credentials.js'
import { type Clock, MINUTE_MS } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { TokenFacts, Tokens } from '../tokens/tokens.js'

interface JobMinderParts {
  readonly tokens: Pick<Tokens, 'list' | 'revoke' | 'age'>
  readonly credentials: Pick<Credentials, 'state' | 'reading'>
  readonly audit: Audit
  readonly clock: Clock
  readonly log: Log
}

/**
 * How long a profile may be gone while the daemon is awake and the file is good: it may only be open in an editor. Until then
 * its jobs are told to wait; after that their tokens are revoked, and Prefect's clients stop at the 401.
 */
export const AWAY_MS = 10 * MINUTE_MS

/** Call the result when the daemon was awake for `ms` more. It rejects if tokens cannot be removed from the disk. */
export function createJobMinder({
  tokens,
  credentials,
  audit,
  clock,
  log,
}: JobMinderParts): (ms: number) => Promise<void> {
  const awaySince = new Map<string, number>()
  return async (ms) => {
    await tokens.age(ms)
    // A file that cannot be read does not say that a profile is gone.
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
      if (now - since >= AWAY_MS) await end(orphan, { tokens, audit, log })
    }
  }
}

function isAway(credentials: JobMinderParts['credentials'], name: string): boolean {
  if (name === '*') return false
  try {
    credentials.state(name)
    return false
  } catch (error) {
    if (isBrokerError(error, 'profile_not_found')) return true
    throw error
  }
}

async function end(
  { id, name, profiles }: TokenFacts,
  { tokens, audit, log }: Pick<JobMinderParts, 'tokens' | 'audit' | 'log'>,
): Promise<void> {
  try {
    await tokens.revoke(id)
  } catch (error) {
    // Already revoked by someone else.
    if (isBrokerError(error, 'token_not_found')) return
    throw error
  }
  const [profile = ''] = profiles
  log.warn({ profile, token: name }, 'job token revoked: its profile is gone')
  audit.record({
    action: 'token_revoked',
    outcome: 'done',
    door: 'daemon',
    profile,
    tokenId: id,
    tokenName: name,
  })
}
