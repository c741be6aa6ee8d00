/** Pure: one event as one line for a person; what has no sentence of its own is told by its facts. */
import type { Event } from '../../wire/events.js'
import { printable } from '../printable.js'
import { formatTime } from '../when.js'

type Facts = Event['facts']

/** Sentences for what a person waits for. */
const SENTENCES: Readonly<Record<string, (facts: Facts) => string>> = {
  'renewal.started': ({ fingerprint }) => `renewing key ${String(fingerprint)}`,
  'renewal.done': ({ fingerprint, expires_at }) =>
    `new key ${String(fingerprint)}${expires_at === undefined ? '' : `, expires ${String(expires_at)}`}`,
  'renewal.failed': ({ message, code, retry_in_s }) =>
    `${String(message)} (${String(code)}); tried again in ${String(retry_in_s)} s, the old key is served`,
  'renewal.warning': ({ message, hint }) => `${String(message)}; now: ${String(hint)}`,
}

export function describeEvent({ at, type, profile, facts }: Event): string {
  const sentence = SENTENCES[type]
  const details =
    sentence === undefined
      ? Object.entries(facts).map(([name, value]) => `${name}=${String(value)}`)
      : [sentence(facts)]
  return printable([`${formatTime(at)}Z`, type.padEnd(20), profile ?? '-', ...details].join('  '))
}
