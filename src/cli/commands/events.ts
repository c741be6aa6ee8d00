/** `prefect-auth events`: what happens, as it happens; survives a restart of the daemon. */
import type { Command } from 'commander'
import { followEvents } from '../../client/event-stream.js'
import { event } from '../../wire/events.js'
import type { Session } from '../context.js'
import { pause } from '../pause.js'
import { printableJson } from '../printable.js'
import { type CommonOptions, common, type Start } from '../start.js'
import { describeEvent } from './event-text.js'

interface EventsOptions extends CommonOptions {
  readonly after?: string
}

export function addEvents(program: Command, start: Start): void {
  common(program.command('events'))
    .description('what happens, as it happens, until Ctrl-C')
    .option('--after <id>', 'begin behind this event; 0 for all that the daemon remembers')
    .action((options: EventsOptions) =>
      start('events', options, (session) => showEvents(session, options.after, options.profile)),
    )
}

async function showEvents(session: Session, after: string | undefined, profile: string | undefined) {
  const { transport, signal } = session
  const onConnection = (state: 'lost' | 'back') => {
    session.say(state === 'lost' ? 'The connection is lost. Trying again.' : 'Connected again.')
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
