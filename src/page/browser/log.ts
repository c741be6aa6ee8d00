/** What happened: the last lines of the audit log. */
import { formatTime, printable } from '../../cli/text.js'
import type { AuditEntry } from '../../wire/events.js'
import { h } from './dom.js'

const MOST = 25

export function showLog(entries: readonly AuditEntry[]): readonly HTMLElement[] {
  if (entries.length === 0) return [h('p', { class: 'box' }, 'Nothing in the last day.')]
  return [h('ol', { class: 'log' }, ...entries.slice(-MOST).reverse().map(showEntry))]
}

function showEntry(entry: AuditEntry): HTMLElement {
  const { at, action, outcome, door, profile, token_name: token, code, caller, count } = entry
  const words = [
    action.replaceAll('_', ' '),
    outcome === 'done' ? undefined : outcome,
    code === undefined ? undefined : `(${code})`,
    profile === undefined ? undefined : `profile ${profile}`,
    token === undefined ? `by ${door}` : `by token ${token}`,
    caller,
    count === undefined ? undefined : `and ${count} more`,
  ]
  const text = words
    .filter((word) => word !== undefined)
    .map(printable)
    .join(', ')
  return h(
    'li',
    outcome === 'refused' ? { class: 'warn-text' } : {},
    h('time', { datetime: at }, formatTime(at)),
    h('span', {}, text),
  )
}
