/** Whether somebody else may have the tokens of our jobs: a notice of `status` and a check of `doctor`. */

import type { ListenerFacts } from '../tokens/access.js'
import type { TokenFacts, Tokens } from '../tokens/tokens.js'
import type { Examination } from './doctor.js'
import type { Check } from './listeners.js'

const DECIDE =
  'prefect-auth token keep --all      (or, one by one: prefect-auth token ls, then token revoke ID)'

function countJobs(count: number): string {
  return count === 1 ? '1 job token' : `${count} job tokens`
}

/** One line while tokens are parked. */
export function noticesOfJobs(tokens: readonly TokenFacts[]): readonly string[] {
  const count = tokens.filter(({ parkedAt }) => parkedAt !== undefined).length
  if (count === 0) return []
  return [`${countJobs(count)} parked: another user held our TCP port and may have them; ${DECIDE}`]
}

export function planJobExamination({
  tokens,
  listeners,
}: {
  readonly tokens: Pick<Tokens, 'list' | 'endedUnclean'>
  readonly listeners: () => readonly ListenerFacts[]
}): Examination {
  return {
    name: 'job tokens',
    examine: async () => judgeJobs(tokens.list(), listeners(), tokens.endedUnclean()),
  }
}

/** Without evidence an unclean end is a warning only: a worker cannot get another token, and goes on. */
export function judgeJobs(
  tokens: readonly Pick<TokenFacts, 'isJob' | 'parkedAt' | 'lastUsedAt'>[],
  listeners: readonly ListenerFacts[],
  endedUnclean: boolean,
): Omit<Check, 'name'> {
  const jobs = tokens.filter(({ isJob }) => isJob)
  const parked = jobs.filter(({ parkedAt }) => parkedAt !== undefined).length
  if (parked > 0) {
    const finding = `another user held our TCP port and may have ${countJobs(parked)}: they are parked`
    return { verdict: 'problem', finding, remedy: DECIDE }
  }
  const tcp = listeners.find(({ door }) => door === 'tcp')
  // The service manager kept the port all along: nobody else could take it.
  if (endedUnclean && jobs.length > 0 && tcp?.state !== 'off' && tcp?.inherited !== true) {
    return {
      verdict: 'warning',
      finding: `the daemon ended unexpectedly; whoever took its TCP port before the restart may have ${countJobs(jobs.length)}`,
      remedy: 'prefect-auth token ls      (the service keeps the port open: prefect-auth service install)',
    }
  }
  return {
    verdict: 'ok',
    finding: jobs.length === 0 ? 'no job has one' : `${countJobs(jobs.length)}, none parked`,
  }
}
