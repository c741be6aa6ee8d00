/** Renewal on the wire. No keys, only facts about them. */
import type { RenewalView } from '../renewal/view.js'
import type { RenewalView as WireView } from '../wire/keys.js'
import { renderTime } from './render.js'

export function renderRenewal({ plan, last, trouble, oldKeys }: RenewalView): WireView {
  return {
    ...renderPlan(plan),
    ...(last === undefined ? {} : { last: { ...last, at: renderTime(last.at) } }),
    ...(trouble === undefined ? {} : { trouble: { ...trouble } }),
    old_keys: oldKeys.map(({ fingerprint, isHandedOut, retiredAt, expiresAt }) => ({
      fingerprint,
      handed_out: isHandedOut,
      retired_at: renderTime(retiredAt),
      ...(expiresAt === undefined ? {} : { expires_at: renderTime(expiresAt) }),
    })),
  }
}

function renderPlan(plan: RenewalView['plan']): Pick<WireView, 'plan' | 'at' | 'why' | 'hint'> {
  switch (plan.kind) {
    case 'renew':
      return { plan: 'scheduled', at: renderTime(plan.at) }
    case 'not_renewable':
      return { plan: 'not_renewable', why: plan.why, hint: plan.hint }
    case 'not_needed':
      return { plan: 'not_needed', why: plan.why }
  }
}
