/** Pure: what goes through the proxy, a line per profile and token name. */
import type { ProxyTrafficView } from '../wire/credentials.js'
import { printable } from './printable.js'
import { formatRelative } from './when.js'

/** The busiest come first; more than these are for `--json` and `/metrics`. */
const MAX_LINES = 8

export function describeTraffic(traffic: readonly ProxyTrafficView[], now: number): readonly string[] {
  const lines = traffic.slice(0, MAX_LINES).map((line) => describeLine(line, now))
  const left = traffic.length - lines.length
  return left > 0 ? [...lines, `and ${left} more: prefect-auth metrics`] : lines
}

function describeLine(line: ProxyTrafficView, now: number): string {
  const facts = [
    count(line.requests, 'request'),
    `${formatBytes(line.bytes_up)} up`,
    `${formatBytes(line.bytes_down)} down`,
    ...some(line.sockets, (many) => `${count(many, 'socket')} open`),
    ...some(line.replays, (many) => count(many, 'replay')),
    ...some(line.parked, (many) => `${many} told to wait`),
    `last ${formatRelative(line.last_at, now)}`,
  ]
  const who = line.token === undefined ? 'the owner' : `'${printable(line.token)}'`
  return `${printable(line.profile)} by ${who}: ${facts.join(', ')}`
}

function some(many: number, text: (many: number) => string): readonly string[] {
  return many === 0 ? [] : [text(many)]
}

function count(many: number, unit: string): string {
  return `${many} ${unit}${many === 1 ? '' : 's'}`
}

/** `512 B`, `1.2 kB`, `3.4 MB`: thousands, as networks count. */
export function formatBytes(bytes: number): string {
  const units = ['kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 'B'
  for (const next of units) {
    if (value < 1000) break
    value /= 1000
    unit = next
  }
  return unit === 'B' ? `${value} B` : `${value.toFixed(1)} ${unit}`
}
