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
  const {
    at,
    action,
    outcome,
    door,
    profile,
    token_name: token,
    about_name: about,
    code,
    caller,
    count,
  } = entry
  const what =
    outcome === 'refused'
      ? `Refused (${(code ?? action).replaceAll('_', ' ')})`
      : (SENTENCES[action] ?? `${action.slice(0, 1).toUpperCase()}${action.slice(1).replaceAll('_', ' ')}`)
  const words = [
    `${what}${profile === undefined ? '' : `, profile ${profile}`}`,
    whoIn(outcome === 'refused' ? (token ?? about) : token, door),
    caller === 'unknown' ? undefined : caller,
    count === undefined ? undefined : `and ${count} more like it`,
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

function whoIn(token: string | undefined, door: AuditEntry['door']): string {
  return token === undefined ? DOORS[door] : `token ${token}`
}

/** Where the name of the action does not say it. */
const SENTENCES: Readonly<Record<string, string>> = {
  credentials: 'Key handed out',
  env: 'Key handed out as environment variables',
  file: 'Key written to a file',
  proxy: 'Requests sent through the proxy',
  write: 'Write sent through the proxy',
  page_link: 'Link to this page created',
  page_alarm: 'Page link used twice',
  ask_accepted: 'Question answered with yes',
  ask_refused: 'Question answered with no',
  login: 'Logged in',
  logout: 'Logged out',
  adopt: 'Key moved from profiles.toml into the vault',
  vault_unlock: 'Vault unlocked',
}

/** Who asked without a token. */
const DOORS: Readonly<Record<AuditEntry['door'], string>> = {
  socket: 'you, on the command line',
  page: 'you, on this page',
  tcp: 'somebody without a token, over TCP',
  restricted: 'somebody without a token, on the restricted socket',
  daemon: 'the daemon itself',
}
