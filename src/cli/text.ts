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

/** How a text fits where it is printed. `width`: of the terminal, in characters; `undefined` where there is none. */
interface Layout {
  readonly width?: number | undefined
}

/** Shorter cells say nothing. */
const LEAST_CELL = 6

/**
 * Columns as wide as needed, two spaces apart, the last one ragged. An empty cell is shown as `-`. Where the terminal is too
 * narrow, cells end in `…`: those of the columns `givesWay` first, in its order, then the others from the right.
 */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  { width, givesWay = [] }: Layout & { readonly givesWay?: readonly string[] } = {},
): string {
  const cells = [header, ...rows.map((row) => row.map((cell) => printable(cell) || '-'))]
  const widths = header.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  let over = width === undefined ? 0 : sum(widths) + 2 * (widths.length - 1) - width
  const first = givesWay.map((name) => header.indexOf(name))
  const others = header.map((_, at) => at).filter((at) => !first.includes(at))
  for (const column of [...first, ...others.reverse()]) {
    const wide = widths[column] ?? 0
    const cut = Math.max(0, Math.min(over, wide - Math.max(LEAST_CELL, header[column]?.length ?? 0)))
    widths[column] = wide - cut
    over -= cut
  }
  return cells.map((row) => formatRow(row, widths)).join('\n')
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

function formatRow(row: readonly string[], widths: readonly number[]): string {
  return row
    .map((cell, column) => shorten(cell, widths[column] ?? 0).padEnd(widths[column] ?? 0))
    .join('  ')
    .trimEnd()
}

function shorten(cell: string, width: number): string {
  return cell.length <= width ? cell : `${cell.slice(0, width - 1)}…`
}

/** Lines of `name   value`; pairs without a value are left out. A long value goes on below itself. */
export function formatFacts(
  pairs: readonly (readonly [string, string | undefined])[],
  { width }: Layout = {},
): string {
  const shown = pairs.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]))
  const column = Math.max(0, ...shown.map(([name]) => name.length))
  return shown
    .map(([name, value]) => `  ${name.padEnd(column)}  ${wrap(value, { width, indent: column + 4 })}`)
    .join('\n')
}

/** Below this nothing is broken: it would be one word a line. */
const LEAST_WIDTH = 20

/** `text` broken at spaces; what goes on below is indented by `indent`, which the first line has before it. Words stay whole. */
export function wrap(text: string, { width, indent }: Layout & { readonly indent: number }): string {
  const room = (width ?? Number.POSITIVE_INFINITY) - indent
  if (text.length <= room || room < LEAST_WIDTH) return text
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > room) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].join(`\n${' '.repeat(indent)}`)
}

/** `9:59 left` */
export function formatCountdown(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / SECOND_MS))
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')} left`
}
