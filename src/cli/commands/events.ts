/** `prefect-auth events`: prints events as they happen, across restarts of the daemon. */
import type { Command } from 'commander'
import { followEvents } from '../../client/event-stream.js'
import { type Event, event } from '../../wire/events.js'
import { type CommonOptions, common, pause, type Session, type Start } from '../session.js'
import { formatTime, printable, printableJson } from '../text.js'

interface EventsOptions extends CommonOptions {
  readonly after?: string
}

export function addEvents(program: Command, start: Start): void {
  common(program.command('events'))
    .description('print events as they happen, until Ctrl-C')
    .option('--after <id>', 'start after this event; 0 for all that the daemon remembers')
    .action((options: EventsOptions) =>
      start('events', options, (session) => showEvents(session, options.after, options.profile)),
    )
}

async function showEvents(session: Session, after: string | undefined, profile: string | undefined) {
  const { transport, signal } = session
  const onConnection = (state: 'lost' | 'back') => {
    session.say(state === 'lost' ? 'Connection to the daemon lost; retrying.' : 'Reconnected.')
  }
  const deps = { transport, signal, onConnection, pause: (ms: number) => pause(ms, signal) }
  for await (const { data } of followEvents(deps, after)) {
    const read = event.safeParse(parseJson(data))
    if (!read.success || (profile !== undefined && read.data.profile !== profile)) continue
    session.print(session.isJson ? printableJson(read.data, 0) : describeEvent(read.data))
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

type Facts = Event['facts']

/** The events that people wait for, as sentences. */
const SENTENCES: Readonly<Record<string, (facts: Facts) => string>> = {
  'renewal.started': ({ fingerprint }) => `renewing key ${String(fingerprint)}`,
  'renewal.done': ({ fingerprint, expires_at }) =>
    `new key ${String(fingerprint)}${expires_at === undefined ? '' : `, expires ${String(expires_at)}`}`,
  'renewal.failed': ({ message, code, retry_in_s }) =>
    `${String(message)} (${String(code)}); retry in ${String(retry_in_s)} s, the old key stays in use`,
  'renewal.warning': ({ message, hint }) => `${String(message)}; try: ${String(hint)}`,
}

export function describeEvent({ at, type, profile, facts }: Event): string {
  const sentence = SENTENCES[type]
  const details =
    sentence === undefined
      ? Object.entries(facts).map(([name, value]) => `${name}=${String(value)}`)
      : [sentence(facts)]
  return printable([`${formatTime(at)}Z`, type.padEnd(20), profile ?? '-', ...details].join('  '))
}
