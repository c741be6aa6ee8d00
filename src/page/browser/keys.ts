/** The keys: one box a profile, with the life of its key. */
import { describeKey, describeOwner, describeWorkspace, formatRelative, printable } from '../../cli/text.js'
import type { RenewalView } from '../../wire/keys.js'
import type { ProfileStatus, Status } from '../../wire/status.js'
import { h } from './dom.js'
import { drawTimeline } from './timeline.js'

/** `now`: epoch ms. Profiles with a key first, then those that lead somewhere. */
export function showKeys({ profiles }: Status, now: number): readonly HTMLElement[] {
  const held = profiles.filter(({ key, api_url }) => key !== undefined || api_url !== undefined)
  if (held.length === 0) {
    return [h('p', { class: 'box' }, 'No profile has a key yet. ', h('code', {}, 'prefect-auth login'))]
  }
  const rank = ({ active, key }: ProfileStatus) => (active ? 0 : key === undefined ? 2 : 1)
  return [...held].sort((a, b) => rank(a) - rank(b)).map((profile) => showProfile(profile, now))
}

function showProfile(profile: ProfileStatus, now: number): HTMLElement {
  const { name, active, owner, workspace, key, state, ready, reason, hint, renewal } = profile
  const who = owner === undefined ? undefined : describeOwner(owner)
  const where = workspace === undefined ? profile.api_url : describeWorkspace(workspace)
  const tone =
    state === 'rejected' || !ready ? ' bad' : state === 'doubted' || renewal?.trouble ? ' warn' : ''
  return h(
    'article',
    { class: `box${tone}` },
    h(
      'div',
      { class: 'row' },
      h('h3', {}, printable(name), active ? ' (active)' : ''),
      h(
        'span',
        { class: 'quiet' },
        [who, where]
          .filter((one) => one !== undefined)
          .map(printable)
          .join(' in '),
      ),
    ),
    key === undefined ? undefined : h('p', {}, describeKey(key, now)),
    ready ? undefined : h('p', { class: 'bad-text' }, `Not served: ${printable(reason ?? 'unknown')}`),
    hint === undefined ? undefined : h('p', {}, h('code', {}, printable(hint))),
    state === 'doubted' ? h('p', { class: 'warn-text' }, DOUBTED) : undefined,
    drawLife(profile, now),
    renewal === undefined ? undefined : h('p', {}, describeRenewal(renewal, now)),
  )
}

const DOUBTED = 'Prefect has begun to refuse this key. It is still served, and Prefect is asked again.'

function drawLife({ key, renewal }: ProfileStatus, now: number): SVGElement | undefined {
  if (key?.issued_at === undefined || key.expires_at === undefined) return undefined
  const renews = renewal?.at ?? key.renews_at
  const life = {
    from: Date.parse(key.issued_at),
    until: Date.parse(key.expires_at),
    now,
    ...(renews === undefined ? {} : { renews: Date.parse(renews) }),
  }
  const isLate = renews !== undefined && Date.parse(renews) < now
  const mark =
    renews === undefined
      ? 'is not renewed'
      : `${isLate ? 'was to renew' : 'renews'} ${formatRelative(renews, now)}`
  return drawTimeline(life, `The key ${mark} and expires ${formatRelative(key.expires_at, now)}.`)
}

/** `Renews in 12 days (2026-12-09). Last renewal: 6 days ago.` */
export function describeRenewal({ plan, at, why, last, old_keys }: RenewalView, now: number): string {
  const next =
    plan === 'scheduled' && at !== undefined
      ? `${Date.parse(at) < now ? 'Was to renew' : 'Renews'} ${formatRelative(at, now)} (${at.slice(0, 10)}).`
      : plan === 'not_needed'
        ? 'Needs no renewal.'
        : `Cannot be renewed${why === undefined ? '' : `: ${printable(why)}`}.`
  const said = last?.message === undefined ? '' : `: ${printable(last.message)}`
  const past =
    last === undefined
      ? ''
      : ` Last renewal: ${last.outcome === 'done' ? '' : 'failed '}${formatRelative(last.at, now)}${last.outcome === 'done' ? '' : said}.`
  const old = old_keys.length === 0 ? '' : ` Replaced keys that may still work: ${old_keys.length}.`
  return `${next}${past}${old}`
}
