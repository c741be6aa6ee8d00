/** Pure: a JSON log line as people read it. */
import type { Colors } from '../context.js'
import { printable } from '../printable.js'

const NAMES: Readonly<Record<number, string>> = {
  10: 'TRACE',
  20: 'DEBUG',
  30: 'INFO',
  40: 'WARN',
  50: 'ERROR',
  60: 'FATAL',
}

/** `2026-11-20 18:45:52Z INFO  message  profile=cloud`; what is no JSON log line stays as it is. */
export function formatLogLine(line: string, colors: Colors): string {
  const record = parseRecord(line)
  if (record === undefined) return printable(line)
  const { level, time, msg, pid: _pid, hostname: _hostname, v: _version, ...facts } = record
  const shown = Object.entries(facts).map(([name, value]) => `${name}=${formatFact(value)}`)
  const text = printable([typeof msg === 'string' ? msg : '', ...shown].join('  '))
  return `${formatTimeOf(time)} ${formatLevel(level, colors)} ${text}`
}

function parseRecord(line: string): { readonly [name: string]: unknown } | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && 'level' in value ? { ...value } : undefined
  } catch {
    return undefined
  }
}

function formatTimeOf(time: unknown): string {
  const date = typeof time === 'number' || typeof time === 'string' ? new Date(time) : undefined
  if (date === undefined || Number.isNaN(date.getTime())) return '-'.padEnd(20)
  return `${date.toISOString().slice(0, 19).replace('T', ' ')}Z`
}

function formatLevel(level: unknown, colors: Colors): string {
  const name = (typeof level === 'number' ? NAMES[level] : undefined) ?? String(level).toUpperCase()
  const padded = printable(name).padEnd(5)
  if (name === 'WARN') return colors.yellow(padded)
  return name === 'ERROR' || name === 'FATAL' ? colors.red(padded) : padded
}

/** Errors have stacks of many lines: their message is enough here, `--json` has the rest. */
function formatFact(value: unknown): string {
  if (typeof value === 'string') return /\s/.test(value) ? JSON.stringify(value) : value
  if (
    typeof value === 'object' &&
    value !== null &&
    'message' in value &&
    typeof value.message === 'string'
  ) {
    return JSON.stringify(value.message)
  }
  return JSON.stringify(value) ?? ''
}
