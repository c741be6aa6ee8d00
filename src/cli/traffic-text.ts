/** The lines of `prefect-auth status` about traffic through the proxy. */

import type { ProxyTrafficView } from '../wire/credentials.js'
import type { Status } from '../wire/status.js'
import { counted, formatRelative, printable } from './text.js'

const MAX_REFUSED = 3

/** The busiest come first; `--json` and `/metrics` have the rest. */
const MAX_LINES = 8

/** One line for each profile and token, the busiest first, and one for who had no token. */
export function describeProxy({ proxy, proxy_strangers }: Status, now: number): readonly string[] {
  const lines = describeTraffic(proxy, now)
  if (proxy_strangers === undefined) return lines
  const last = proxy_strangers.last_at
  const when = last === undefined ? '' : `, last ${formatRelative(last, now)}`
  return [...lines, `${counted(proxy_strangers.refused, 'request')} without a valid token refused${when}`]
}

function describeTraffic(traffic: readonly ProxyTrafficView[], now: number): readonly string[] {
  const lines = traffic.slice(0, MAX_LINES).map((line) => describeLine(line, now))
  const left = traffic.length - lines.length
  return left > 0 ? [...lines, `and ${left} more: prefect-auth metrics`] : lines
}

function describeLine(line: ProxyTrafficView, now: number): string {
  const facts = [
    counted(line.requests, 'request'),
    `${formatBytes(line.bytes_up)} up`,
    `${formatBytes(line.bytes_down)} down`,
    ...some(line.sockets, (many) => `${counted(many, 'socket')} open`),
    ...some(line.replays, (many) => counted(many, 'replay')),
    ...some(line.parked, (many) => `${many} told to wait`),
    `last ${formatRelative(line.last_at, now)}`,
    ...(line.refused ?? [])
      .slice(0, MAX_REFUSED)
      .map(({ operation, count }) => `refused ${printable(operation)} (${counted(count, 'time')})`),
  ]
  const who = line.token === undefined ? 'the owner' : `'${printable(line.token)}'`
  return `${printable(line.profile)} by ${who}: ${facts.join(', ')}`
}

function some(many: number, text: (many: number) => string): readonly string[] {
  return many === 0 ? [] : [text(many)]
}

/** `512 B`, `1.2 kB`, `3.4 MB`: powers of 1000. */
function formatBytes(bytes: number): string {
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
