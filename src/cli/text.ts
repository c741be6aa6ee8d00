/** Owners, keys, workspaces, times and tables as every command prints them. */
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../std/clock.js'
import { printable } from '../std/text.js'
import type { KeyView, Owner, WorkspaceRef } from '../wire/common.js'

export { printable, printableJson, printableLines, shellWord } from '../std/text.js'

/** `terry (terry@example.com)` */
export function describeOwner({ kind, handle, email }: Owner): string {
  const name = printable(handle)
  if (kind === 'service_account') return `service account ${name}`
  return email === undefined ? name : `${name} (${printable(email)})`
}

/** `prefect/terry`, or the ids until the names are known. */
export function describeWorkspace({ handle, account_id, workspace_id }: WorkspaceRef): string {
  return printable(handle ?? `${account_id}/${workspace_id}`)
}

/** Prefect reveals when a key expires only to whoever created it. */
const UNKNOWN_EXPIRY = 'expiry of the key unknown'

/** `key expires 2026-12-20` */
export function describeExpiry({ origin, expires_at, expiry_assumed }: KeyView): string {
  if (expires_at === undefined) return origin === 'minted' ? 'key does not expire' : UNKNOWN_EXPIRY
  return `key expires ${expiry_assumed === true ? 'about ' : ''}${formatDate(expires_at)}`
}

const ORIGINS: Readonly<Record<KeyView['origin'], string>> = {
  browser: 'from the browser',
  pasted: 'pasted',
  minted: 'minted by prefect-auth',
  service_account: 'service account',
  profile: 'from profiles.toml',
}

/** `minted by prefect-auth, expires in 29 days (2026-12-20), sha256:1f2e3d4c5b6a` */
export function describeKey(key: KeyView, now: number): string {
  return `${ORIGINS[key.origin]}, ${describeLife(key, now)}, ${printable(key.fingerprint)}`
}

function describeLife({ origin, expires_at, expiry_assumed }: KeyView, now: number): string {
  if (expires_at === undefined) return origin === 'minted' ? 'does not expire' : 'expiry unknown'
  const date = `(${expiry_assumed === true ? 'about ' : ''}${formatDate(expires_at)})`
  const isOver = Date.parse(expires_at) <= now
  return `${isOver ? 'expired' : 'expires'} ${formatRelative(expires_at, now)} ${date}`
}

/** `2026-12-20` of an RFC 3339 time, in UTC. */
export function formatDate(time: string): string {
  return new Date(time).toISOString().slice(0, 10)
}

/** `2026-12-20 18:45:52`, in UTC. */
export function formatTime(time: string): string {
  return new Date(time).toISOString().slice(0, 19).replace('T', ' ')
}

/** `29 days`, `3 hours`, `5 minutes`, `20 seconds`: rounded down. */
export function formatSpan(ms: number): string {
  const left = Math.abs(ms)
  if (left >= 2 * DAY_MS) return counted(Math.floor(left / DAY_MS), 'day')
  if (left >= 2 * HOUR_MS) return counted(Math.floor(left / HOUR_MS), 'hour')
  if (left >= MINUTE_MS) return counted(Math.floor(left / MINUTE_MS), 'minute')
  return counted(Math.floor(left / SECOND_MS), 'second')
}

/** `in 29 days`, `3 hours ago`. */
export function formatRelative(time: string, now: number): string {
  const ms = Date.parse(time) - now
  return ms >= 0 ? `in ${formatSpan(ms)}` : `${formatSpan(ms)} ago`
}

/** `1 request`, `2 requests` */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/** One name per line, for completions and scripts. A name that does not fit on one line, or that steers a terminal, is left out. */
export function formatNames(names: readonly string[]): string {
  return names.filter((name) => name !== '' && printable(name) === name).join('\n')
}

/** Columns as wide as needed, two spaces apart, the last one ragged. An empty cell is shown as `-`. */
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

/** Lines of `name   value`; pairs without a value are left out. */
export function formatFacts(
  pairs: readonly (readonly [string, string | undefined])[],
  indent = '  ',
): string {
  const shown = pairs.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]))
  const width = Math.max(0, ...shown.map(([name]) => name.length))
  return shown.map(([name, value]) => `${indent}${name.padEnd(width)}  ${value}`).join('\n')
}
