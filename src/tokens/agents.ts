/** Agents: programs that were started to be kept away from the owner's powers, and how one of their processes is known. Pure. */

import type { ProcessFacts } from '../os/peer.js'
import type { KnownToken } from './tokens.js'

/** `prefect-auth-agent-0123456789ab.scope`: the scope of systemd in which `agent run` starts its command. `id`: of its token. */
const SCOPE = /(?:^|\/)prefect-auth-agent-([0-9a-f]+)\.scope(?:\/|$)/

export interface Inside {
  /** Of the agent's token. */
  readonly id: string
  /** For people. */
  readonly why: string
}

/**
 * Which agent the first process of `chain` belongs to: it or one of its ancestors is in the agent's scope, has the mark of its job in its
 * environment, or was started by its first process. `undefined` if nothing of that is so.
 */
export function findInside(
  chain: readonly ProcessFacts[],
  agents: readonly Pick<KnownToken, 'id' | 'jobProcess'>[],
): Inside | undefined {
  for (const [depth, { group, job, pid, startedAt }] of chain.entries()) {
    const [, scoped] = SCOPE.exec(group) ?? []
    if (scoped !== undefined) return { id: scoped, why: 'its control group is the scope of the agent' }
    const marked = agents.find(({ id }) => id === job)
    if (marked !== undefined) return { id: marked.id, why: 'PREFECT_AUTH_JOB names the agent' }
    // The first process is `agent run` itself, which ends the token when its command has ended.
    const started = agents.find(
      ({ jobProcess }) => jobProcess?.pid === pid && jobProcess.process.endsWith(` ${startedAt}`),
    )
    if (started !== undefined && depth > 0) return { id: started.id, why: 'the agent started it' }
  }
  return undefined
}
