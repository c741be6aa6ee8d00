/** Pure: owners, keys and workspaces in the words of every command. */
import { printable } from '../std/text.js'
import type { KeyView, Owner, WorkspaceRef } from '../wire/common.js'

export { printable, printableJson, printableLines, shellWord } from '../std/text.js'

/** `terry (terry@example.com)` */
export function describeOwner({ kind, handle, email }: Owner): string {
  const name = printable(handle)
  if (kind === 'service_account') return `service account ${name}`
  return email === undefined ? name : `${name} (${printable(email)})`
}

/** `prefect/terry`, or the ids until Prefect has told the names. */
export function describeWorkspace({ handle, account_id, workspace_id }: WorkspaceRef): string {
  return printable(handle ?? `${account_id}/${workspace_id}`)
}

/** Prefect tells the expiry of a key to who made it, and to nobody else. */
const UNKNOWN_EXPIRY = 'when the key expires is not known'

/** `key expires 2026-12-20` */
export function describeExpiry({ origin, expires_at, expiry_assumed }: KeyView): string {
  if (expires_at === undefined) return origin === 'minted' ? 'key does not expire' : UNKNOWN_EXPIRY
  return `key expires ${expiry_assumed === true ? 'about ' : ''}${formatDate(expires_at)}`
}

const ORIGINS: Readonly<Record<KeyView['origin'], string>> = {
  browser: 'from the browser',
  pasted: 'pasted',
  minted: 'our own',
  service_account: 'of a service account',
  profile: 'from profiles.toml',
}

/** `our own, expires in 29 days (2026-12-20), sha256:1f2e3d4c5b6a` */
export function describeKey(key: KeyView, now: number): string {
  return `${ORIGINS[key.origin]}, ${describeLife(key, now)}, ${printable(key.fingerprint)}`
}

function describeLife({ origin, expires_at, expiry_assumed }: KeyView, now: number): string {
  if (expires_at === undefined) return origin === 'minted' ? 'does not expire' : 'expiry not known'
  const date = `(${expiry_assumed === true ? 'about ' : ''}${formatDate(expires_at)})`
  const isOver = Date.parse(expires_at) <= now
  return `${isOver ? 'expired' : 'expires'} ${formatRelative(expires_at, now)} ${date}`
}

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** `2026-12-20` of an RFC 3339 time, in UTC. */
export function formatDate(time: string): string {
  return new Date(time).toISOString().slice(0, 10)
}

/** `2026-12-20 18:45:52`, in UTC. */
export function formatTime(time: string): string {
  return new Date(time).toISOString().slice(0, 19).replace('T', ' ')
}

/** `29 days`, `3 hours`, `5 minutes`, `20 seconds`: never more than there is. */
export function formatSpan(ms: number): string {
  const left = Math.abs(ms)
  if (left >= 2 * DAY) return count(Math.floor(left / DAY), 'day')
  if (left >= 2 * HOUR) return count(Math.floor(left / HOUR), 'hour')
  if (left >= MINUTE) return count(Math.floor(left / MINUTE), 'minute')
  return count(Math.floor(left / 1000), 'second')
}

/** `in 29 days`, `3 hours ago`. */
export function formatRelative(time: string, now: number): string {
  const ms = Date.parse(time) - now
  return ms >= 0 ? `in ${formatSpan(ms)}` : `${formatSpan(ms)} ago`
}

function count(number: number, unit: string): string {
  return `${number} ${unit}${number === 1 ? '' : 's'}`
}

/** Columns as wide as they must be, two spaces between, the last one ragged. An empty cell is `-`. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [header, ...rows.map((row) => row.map((cell) => printable(cell) || '-'))]
  const widths = header.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  return cells.map((row) => formatRow(row, widths)).join('\n')
}

function formatRow(row: readonly string[], widths: readonly number[]): string {
  return row
    .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
    .join('  ')
    .trimEnd()
}

/** `name   value` under each other; pairs without a value are left out. */
export function formatFacts(
  pairs: readonly (readonly [string, string | undefined])[],
  indent = '  ',
): string {
  const shown = pairs.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]))
  const width = Math.max(0, ...shown.map(([name]) => name.length))
  return shown.map(([name, value]) => `${indent}${name.padEnd(width)}  ${value}`).join('\n')
}
