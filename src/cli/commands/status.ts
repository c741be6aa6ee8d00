/** `prefect-auth status`, `metrics` and `version`: the state of the daemon, once or continuously. */
import type { Command } from 'commander'
import { followEvents } from '../../client/event-stream.js'
import { failureOf, failWith } from '../../client/failure.js'
import { defined } from '../../std/defined.js'
import type { ProfileStatus, Status } from '../../wire/status.js'
import { findPrefectTrouble } from '../prefect-trouble.js'
import { type CommonOptions, common, isDumb, pause, type Session, type Start, withJson } from '../session.js'
import { findOtherFile, findStanding, type Standing } from '../standing-here.js'
import {
  formatFindings,
  formatShort,
  formatStatus,
  type StatusTextInput,
  statusCode,
} from '../status-text.js'
import { printable, printableJson } from '../text.js'

interface StatusOptions extends CommonOptions {
  readonly watch?: boolean
  readonly check?: boolean
  readonly short?: boolean
  readonly socket?: boolean
  readonly url?: boolean
}

/** Lifetimes count down while nothing happens: redraw at least this often. */
const REDRAW_MS = 30_000
/** Changes come in groups: one redraw for all of a group. */
const SETTLE_MS = 100

export function addStatus(program: Command, start: Start): void {
  common(program.command('status'))
    .description('show the owner, workspace and profile, and any problems')
    .option('--watch', 'redraw on every change, until Ctrl-C')
    .option('--check', 'print only what is wrong; the exit code says whether anything is')
    .option('--short', 'one line, for a prompt')
    .option('--socket', 'print the path of the socket, for curl --unix-socket')
    .option('--url', 'print the TCP address, http://127.0.0.1:PORT')
    .addHelpText(
      'after',
      '\nExit code: 0, or 3 if nobody is logged in to the profile or it does not exist, 4 if the daemon is not running.\nWith --check also 1 if anything is wrong.',
    )
    .action((options: StatusOptions) => start('status', options, (session) => showStatus(session, options)))
}

async function showStatus(session: Session, options: StatusOptions): Promise<number> {
  if (options.watch === true) return watchStatus(session)
  const status = await session.client.status()
  if (options.socket === true) {
    session.print(session.transport.socket() ?? '')
    return 0
  }
  if (options.url !== true) return answerStatus(session, status, options)
  session.print(addressOf(status))
  return 0
}

async function answerStatus(
  session: Session,
  status: Status,
  { check = false, short = false }: StatusOptions,
): Promise<number> {
  const trouble = short || session.isJson ? undefined : await askPrefect(session, status)
  const input = await inputOf(session, status, trouble)
  const text = short ? formatShort(input) : check ? formatFindings(input) : formatStatus(input)
  if (session.isJson || text !== '') session.answer(status, () => text)
  return statusCode(input, check)
}

/** Of the TCP listener. Throws `tcp_unavailable`. */
function addressOf(status: Status): string {
  const tcp = status.listeners.find(({ door }) => door === 'tcp')
  if (tcp?.state === 'listening') return tcp.address
  return failWith({
    code: 'tcp_unavailable',
    kind: 'unavailable',
    detail: `the daemon does not listen on TCP${tcp?.problem === undefined ? '' : `: ${tcp.problem}`}`,
    hint: 'prefect-auth status --socket',
  })
}

function shownProfile({ profile }: Session, status: Status): ProfileStatus | undefined {
  return status.profiles.find(({ name }) => name === (profile ?? status.active))
}

/** A key may be dead, and a server gone, since the daemon last asked: whoever looks is told how it is now. */
async function askPrefect(session: Session, status: Status): Promise<Standing | undefined> {
  const shown = shownProfile(session, status)
  return shown?.ready === true && shown.kind !== 'none' ? findPrefectTrouble(session, shown.name) : undefined
}

async function inputOf(
  session: Session,
  status: Status,
  trouble: Standing | undefined,
): Promise<StatusTextInput> {
  const { terminal, profile, profileBecause, colors, width } = session
  const named = shownProfile(session, status)
  const other = await findOtherFile(terminal, status)
  const standing = [...[trouble, other].filter((one) => one !== undefined), ...findStanding(terminal, named)]
  const { env, version } = terminal
  const now = terminal.now()
  return { status, profile, because: profileBecause, env, standing, version, now, colors, width }
}

/** Draws at once, on every event and on a slow tick; on a terminal each drawing replaces the last. */
async function watchStatus(session: Session): Promise<number> {
  const draw = createDrawing(session)
  await draw()
  const drawing = new AbortController()
  const ticking = tick(session, drawing.signal, draw)
  const deps = {
    transport: session.transport,
    signal: session.signal,
    pause: (ms: number) => pause(ms, session.signal),
  }
  const onConnection = (state: 'lost' | 'back') => {
    if (state === 'lost') session.say('Connection to the daemon lost; retrying.')
  }
  try {
    for await (const _event of followEvents({ ...deps, onConnection })) {
      await pause(SETTLE_MS, session.signal)
      await draw()
    }
  } finally {
    drawing.abort()
    await ticking
  }
  return 0
}

async function tick(session: Session, signal: AbortSignal, draw: () => Promise<void>): Promise<void> {
  while (!signal.aborted && !session.signal.aborted) {
    await pause(REDRAW_MS, AbortSignal.any([signal, session.signal]))
    if (!signal.aborted && !session.signal.aborted) await draw()
  }
}

function createDrawing(session: Session): () => Promise<void> {
  let asked = Number.NEGATIVE_INFINITY
  let trouble: Standing | undefined
  return async () => {
    if (session.signal.aborted) return
    try {
      const status = await session.client.status()
      if (session.isJson) return session.print(printableJson(status, 0))
      const now = session.terminal.now()
      if (Math.abs(now - asked) >= REDRAW_MS) {
        asked = now
        trouble = await askPrefect(session, status)
      }
      const text = formatStatus(await inputOf(session, status, trouble))
      session.print(canRedraw(session) ? inPlace(text) : `${text}\n`)
    } catch (error) {
      if (failureOf(error)?.kind !== 'not_running' || session.transport.socket() === undefined) throw error
    }
  }
}

function canRedraw({ terminal }: Session): boolean {
  return terminal.stdout.isTTY === true && !isDumb(terminal)
}

/** From the top, each line up to its end, then nothing below: no flicker, unlike clearing the screen first. */
function inPlace(text: string): string {
  return `\u001b[H${text.replaceAll('\n', '\u001b[K\n')}\u001b[K\n\u001b[J`
}

export function addMetrics(program: Command, start: Start): void {
  program
    .command('metrics')
    .description("print the daemon's metrics in Prometheus format")
    .action(() =>
      start('metrics', {}, async (session) => {
        session.print((await session.client.metrics()).trimEnd())
      }),
    )
}

export function addVersion(program: Command, start: Start): void {
  withJson(program.command('version'))
    .description('print the versions of this command and of the daemon')
    .action((options: CommonOptions) => start('version', options, showVersion))
}

/** Succeeds even if the daemon is not running. */
async function showVersion(session: Session): Promise<void> {
  const ours = session.terminal.version
  const daemon = await daemonVersion(session)
  const wire = { version: ours, ...defined({ daemon }) }
  session.answer(wire, () => `prefect-auth ${ours}\nprefect-authd ${printable(daemon ?? 'is not running')}`)
  if (daemon !== undefined && daemon !== ours) session.say('note: the versions differ; restart prefect-authd')
}

async function daemonVersion({ client }: Session): Promise<string | undefined> {
  try {
    return (await client.status()).daemon.version
  } catch (error) {
    const kind = failureOf(error)?.kind
    if (kind === 'not_running') return undefined
    if (kind === 'no_answer') return 'is running, but its response cannot be read'
    throw error
  }
}
