/** Who may ask, and who does: tokens with their traffic, and what they were refused. */
import { counted, formatRelative, printable } from '../../cli/text.js'
import type { Status } from '../../wire/status.js'
import type { TokenList, TokenView } from '../../wire/tokens.js'
import { h } from './dom.js'

type Traffic = Status['proxy'][number]
interface Refused {
  readonly operation: string
  readonly count: number
}

interface Shown {
  /** Epoch ms. */
  readonly now: number
  /** Tokens whose button was pressed once. */
  readonly sure: Set<string>
  /** Called after the second press. */
  readonly onRevoke: (id: string) => void
}

export function showCallers({ proxy }: Status, { tokens }: TokenList, shown: Shown): readonly HTMLElement[] {
  const { now } = shown
  const owner = proxy.filter(({ token }) => token === undefined)
  const boxes = tokens.map((token) => {
    const traffic = proxy.filter((one) => one.token === token.name)
    return showToken(token, traffic, shown)
  })
  return [
    ...boxes,
    ...(owner.length === 0
      ? []
      : [h('p', { class: 'box' }, `You, over the unix socket: ${describeTraffic(owner, now)}`)]),
    ...(boxes.length + owner.length > 0
      ? []
      : [
          h(
            'p',
            { class: 'box' },
            'Nobody but you: there are no tokens. ',
            h('code', {}, 'prefect-auth exec --proxy -- CMD'),
          ),
        ]),
  ]
}

function showToken(token: TokenView, traffic: readonly Traffic[], shown: Shown): HTMLElement {
  const { now } = shown
  // Those of the token outlive a restart.
  const refused: readonly Refused[] = token.refused ?? traffic.flatMap((one) => one.refused ?? [])
  return h(
    'article',
    { class: `box${token.parked_at === undefined ? '' : ' warn'}` },
    h(
      'div',
      { class: 'row' },
      h('h3', {}, printable(token.name)),
      h('span', { class: 'quiet' }, `${token.power}, ${printable(token.profiles.join(', '))}, ${token.id}`),
    ),
    h(
      'p',
      {},
      `${describeUse(token, now)} ${traffic.length === 0 ? '' : `${describeTraffic(traffic, now)}.`}`,
    ),
    token.power === 'proxy' ? h('p', {}, describeLimits(token)) : undefined,
    token.parked_at === undefined
      ? undefined
      : h(
          'p',
          { class: 'warn-text' },
          'Parked: another user held our port. ',
          h('code', {}, `prefect-auth token keep ${token.id}`),
        ),
    refused.length === 0 ? undefined : showRefused(token.id, refused),
    revokeButton(token, shown),
  )
}

/** `Policy read, with 1 more operation. Asks before every write.` */
function describeLimits({ may, allow = [], deny = [], ask }: TokenView): string {
  const more = allow.length === 0 ? '' : `, with ${counted(allow.length, 'more operation')}`
  const less = deny.length === 0 ? '' : `, without ${counted(deny.length, 'operation')}`
  const policy = `${may === undefined ? 'No policy' : `Policy ${may}`}${more}${less}.`
  if (ask === undefined) return policy
  return `${policy} Asks before ${ask === 'all' ? 'every request' : 'every write'}.`
}

function describeUse({ last_used_at, expires_at }: TokenView, now: number): string {
  const used = last_used_at === undefined ? 'Not used yet' : `Last used ${formatRelative(last_used_at, now)}`
  return `${used}, expires ${formatRelative(expires_at, now)}.`
}

function describeTraffic(traffic: readonly Traffic[], now: number): string {
  const requests = traffic.reduce((sum, one) => sum + one.requests, 0)
  const last = traffic
    .map(({ last_at }) => last_at)
    .sort()
    .at(-1)
  return `${counted(requests, 'request')}${last === undefined ? '' : `, the last ${formatRelative(last, now)}`}`
}

function showRefused(id: string, refused: readonly Refused[]): HTMLElement {
  const count = refused.reduce((sum, one) => sum + one.count, 0)
  return h(
    'details',
    { id: `refused-${id}` },
    h('summary', { 'data-focus': `refused-${id}` }, `${counted(count, 'request')} refused`),
    ...refused.map((one) =>
      h('p', {}, h('code', {}, printable(one.operation)), one.count === 1 ? ' once' : ` ${one.count} times`),
    ),
  )
}

/** Two presses: what is revoked does not come back. */
function revokeButton({ id, name }: TokenView, { sure, onRevoke }: Shown): HTMLElement {
  const label = () =>
    sure.has(id) ? `Really revoke ${printable(name)}? Press again` : `Revoke ${printable(name)}`
  const button = h('button', { type: 'button', 'data-focus': `revoke-${id}` }, label())
  button.addEventListener('click', () => {
    // Not disabled: that would take the focus away.
    if (sure.delete(id)) {
      button.textContent = `Revoking ${printable(name)}`
      return onRevoke(id)
    }
    sure.add(id)
    button.textContent = label()
  })
  return button
}
