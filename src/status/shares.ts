/** What doctor says of shared keys: the store, its token and policy, the clocks, and the overlap. */

import { isBrokerError } from '../base/errors.js'
import { leastOverlapMs } from '../share/pace.js'
import type { ShareAdmin, ShareFacts } from '../share/shares.js'
import type { StoreFinding } from '../share/store.js'
import { MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { formatDuration, formatLeft } from '../std/time.js'
import type { Examination } from './doctor.js'
import type { Finding } from './listeners.js'

const MAX_SKEW_MS = 5 * MINUTE_MS

/** Every share that a profile uses; the worst finding counts. */
export function planShareExamination(shares: Pick<ShareAdmin, 'list' | 'examine'>): Examination {
  return {
    name: 'shared keys',
    async examine() {
      const used = shares.list().filter(({ record }) => (record?.profiles.length ?? 0) > 0)
      const [first] = shares.list()
      if (first === undefined) return { verdict: 'ok', finding: 'config.toml has no share' }
      if (used.length === 0) {
        const remedy = `prefect-auth share use ${first.name}`
        return { verdict: 'warning', finding: `no profile uses share ${first.name}`, remedy }
      }
      const findings = await Promise.all(used.map((facts) => examineOne(facts, shares)))
      const problem = findings.find(({ verdict }) => verdict === 'problem')
      const warning = findings.find(({ verdict }) => verdict !== 'ok')
      const names = used.map(({ name }) => name).join(', ')
      return problem ?? warning ?? { verdict: 'ok', finding: `in order: ${names}` }
    },
  }
}

async function examineOne(facts: ShareFacts, { examine }: Pick<ShareAdmin, 'examine'>): Promise<Finding> {
  const { trouble } = facts
  if (trouble !== undefined) {
    const { message, hint } = trouble
    return { verdict: 'problem', finding: `share ${facts.name}: ${message}`, ...defined({ remedy: hint }) }
  }
  try {
    return judgeShare(facts, await examine(facts.name))
  } catch (error) {
    if (!isBrokerError(error)) throw error
    const { message, hint } = error
    return { verdict: 'problem', finding: `share ${facts.name}: ${message}`, ...defined({ remedy: hint }) }
  }
}

/** Pure. */
export function judgeShare(
  { name, standing, rotateWith, document, rotator }: ShareFacts,
  store: StoreFinding,
): Finding {
  const problem = (finding: string, remedy: string): Finding => ({
    verdict: 'problem',
    finding: `share ${name}: ${finding}`,
    remedy,
  })
  const warning = (finding: string, remedy: string): Finding => ({
    ...problem(finding, remedy),
    verdict: 'warning',
  })
  const { may, requiresVersion, tokenLifeMs, isTokenRenewable, skewMs } = store
  if (may?.read === false)
    return problem('the policy of the store does not let us read', 'check the policy: read')
  if (rotateWith !== undefined && may?.write === false) {
    return problem(
      'the policy of the store does not let this machine rotate',
      'check the policy: create and update',
    )
  }
  if (standing === 'second_owner') {
    return problem(
      'somebody else rotated the key twice: rotation stopped',
      `prefect-auth share rotate ${name} --now`,
    )
  }
  if (standing === 'foreign')
    return problem('somebody else rotated the key', `prefect-auth share adopt ${name}`)
  const least = document === undefined ? 0 : leastOverlapMs(document.pace)
  if (document !== undefined && document.pace.overlapMs < least) {
    const given = formatDuration(document.pace.overlapMs)
    return problem(`the overlap of ${given} is shorter than the formula allows`, 'check docs/fleet.md')
  }
  if (rotator?.problem !== undefined) {
    const { message, hint = 'prefect-auth share status' } = rotator.problem
    return warning(`this machine will not rotate, others may: ${message}`, hint)
  }
  if (requiresVersion === false) {
    return warning(
      'the store accepts writes without a version',
      'check cas_required of the KV engine: set it',
    )
  }
  if (tokenLifeMs !== undefined && isTokenRenewable !== true) {
    return warning(
      `the token of the store expires in ${formatLeft(tokenLifeMs)} and cannot be renewed`,
      'check who replaces it',
    )
  }
  if (skewMs !== undefined && Math.abs(skewMs) > MAX_SKEW_MS) {
    return warning(
      `the clock of this machine and the store's differ by ${formatDuration(Math.abs(skewMs))}`,
      'check the clock: date',
    )
  }
  return { verdict: 'ok', finding: `share ${name} is in order` }
}
