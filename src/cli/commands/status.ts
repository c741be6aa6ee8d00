/** `prefect-auth status`: the whole picture at one look, once or for as long as one watches. */
import type { Command } from 'commander'
import { followEvents } from '../../client/event-stream.js'
import { failureOf, failWith } from '../../client/failure.js'
import { type CommonOptions, common, pause, type Session, type Start } from '../session.js'
import { formatStatus } from '../status-text.js'
import { printableJson } from '../text.js'

interface StatusOptions extends CommonOptions {
  readonly watch?: boolean
  readonly socket?: boolean
  readonly url?: boolean
}

/** Lifetimes shrink while nothing happens: drawn anew at least this often. */
const REDRAW_MS = 30_000
const SETTLE_MS = 100

export function addStatus(program: Command, start: Start): void {
  common(program.command('status'))
    .description('who I am, which workspace and profile, and what is wrong')
    .option('--watch', 'show every change until Ctrl-C')
    .option('--socket', 'print the path of the socket that answers, for curl --unix-socket')
    .option('--url', 'print the TCP address, http://127.0.0.1:PORT')
    .action((options: StatusOptions) => start('status', options, (session) => showStatus(session, options)))
}

async function showStatus(session: Session, options: StatusOptions): Promise<void> {
  if (options.watch === true) return watchStatus(session)
  const status = await session.client.status()
  if (options.socket === true) return session.print(session.transport.socket() ?? '')
  if (options.url !== true) return session.answer(status, () => textOf(session, status))
  const tcp = status.listeners.find(({ door }) => door === 'tcp')
  if (tcp?.state === 'listening') return session.print(tcp.address)
  failWith({
    code: 'tcp_unavailable',
    kind: 'unavailable',
    detail: `the daemon does not listen on TCP${tcp?.problem === undefined ? '' : `: ${tcp.problem}`}`,
    hint: 'prefect-auth status --socket',
  })
}

type Answer = Awaited<ReturnType<Session['client']['status']>>

function textOf({ profile, profileBecause, terminal, colors }: Session, status: Answer): string {
  const { env, version } = terminal
  return formatStatus({ status, profile, because: profileBecause, env, version, now: terminal.now(), colors })
}

/** Draws at once, at every event, and on a slow tick; on a terminal over the last drawing. */
async function watchStatus(session: Session): Promise<void> {
  await draw(session)
  const drawing = new AbortController()
  const ticking = tick(session, drawing.signal)
  const deps = {
    transport: session.transport,
    signal: session.signal,
    pause: (ms: number) => pause(ms, session.signal),
  }
  const onConnection = (state: 'lost' | 'back') => {
    if (state === 'lost') session.say('The connection to the daemon is lost. Trying again.')
  }
  try {
    for await (const _event of followEvents({ ...deps, onConnection })) {
      // Changes come in groups: one drawing for all.
      await pause(SETTLE_MS, session.signal)
      await draw(session)
    }
  } finally {
    drawing.abort()
    await ticking
  }
}

async function tick(session: Session, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && !session.signal.aborted) {
    await pause(REDRAW_MS, AbortSignal.any([signal, session.signal]))
    if (!signal.aborted && !session.signal.aborted) await draw(session)
  }
}

async function draw(session: Session): Promise<void> {
  if (session.signal.aborted) return
  try {
    const status = await session.client.status()
    if (session.isJson) return session.print(printableJson(status, 0))
    const isTerminal = session.terminal.stdout.isTTY === true
    session.print(
      `${isTerminal ? '\u001b[H\u001b[2J' : ''}${textOf(session, status)}${isTerminal ? '' : '\n'}`,
    )
  } catch (error) {
    if (failureOf(error)?.kind !== 'not_running' || session.transport.socket() === undefined) throw error
  }
}

export function addMetrics(program: Command, start: Start): void {
  program
    .command('metrics')
    .description("the daemon's metrics, as Prometheus reads them")
    .action(() =>
      start('metrics', {}, async (session) => {
        session.print((await session.client.metrics()).trimEnd())
      }),
    )
}
