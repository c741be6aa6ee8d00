/** Pure: points in time and how far away they are, in words. */

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
