/** What needs the owner: findings of doctor and notices of status, each with its remedy. */
import { printable } from '../../cli/text.js'
import type { Doctor, Status } from '../../wire/status.js'
import { h } from './dom.js'

export function showFindings({ notices, profiles }: Status, { checks }: Doctor): readonly HTMLElement[] {
  // Questions have their own section.
  const told = [...notices, ...profiles.flatMap((profile) => profile.notices)].filter(
    (notice) => !notice.endsWith(': prefect-auth asks'),
  )
  const all = checks.filter(({ verdict }) => verdict === 'problem' || verdict === 'warning')
  // Two checks may find the same.
  const wrong = [...new Map(all.map((check) => [check.finding, check])).values()]
  const boxes = [
    ...wrong.map(({ verdict, finding, remedy }) =>
      h(
        'div',
        { class: `box ${verdict === 'problem' ? 'bad' : 'warn'}` },
        h('p', {}, printable(finding)),
        remedy === undefined ? undefined : h('p', {}, h('code', {}, printable(remedy))),
      ),
    ),
    ...[...new Set(told)].map((notice) => h('p', { class: 'box warn' }, printable(notice))),
  ]
  if (boxes.length > 0) return boxes
  return [
    h(
      'p',
      { class: 'box' },
      h('span', { class: 'good' }, 'Nothing.'),
      ` ${checks.length} checks are in order.`,
    ),
  ]
}
