/** The doctor's look at the renewal: what is overdue, and what no renewal can save. */

import { shownName } from '../profiles/bundled.js'
import type { RenewalAdmin } from '../renewal/view.js'
import type { Credentials } from '../serve/credentials.js'
import type { Examination } from './doctor-part.js'

export function planRenewalExamination({
  credentials,
  renewal,
}: {
  readonly credentials: Credentials
  readonly renewal: Pick<RenewalAdmin, 'view'>
}): Examination {
  return {
    name: 'renewal',
    async examine() {
      const views = credentials.states().flatMap(({ resolved: { name } }) => {
        const view = renewal.view(name)
        return view === undefined ? [] : [{ name, view }]
      })
      const troubled = views.find(({ view }) => view.trouble !== undefined)?.view.trouble
      if (troubled !== undefined) {
        return { verdict: 'problem', finding: troubled.message, remedy: troubled.hint }
      }
      for (const { name, view } of views) {
        if (view.plan.kind !== 'not_renewable') continue
        const finding = `the key of profile ${shownName(name)} is not renewed: ${view.plan.why}`
        return { verdict: 'warning', finding, remedy: view.plan.hint }
      }
      return { verdict: 'ok', finding: describe(views.flatMap(({ view }) => momentOf(view.plan))) }
    },
  }
}

type Plan = NonNullable<ReturnType<RenewalAdmin['view']>>['plan']

function momentOf(plan: Plan): number[] {
  return plan.kind === 'renew' ? [plan.at] : []
}

function describe(moments: readonly number[]): string {
  if (moments.length === 0) return 'no key to renew'
  const next = new Date(Math.min(...moments)).toISOString().slice(0, 10)
  return `${moments.length} key(s) will be renewed, the next on ${next}`
}
