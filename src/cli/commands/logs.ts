/** `prefect-auth logs`: the daemon's log for people: from the journal, from its file, or from a pipe. */
import { spawn } from 'node:child_process'
import { createReadStream, existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { type Command, InvalidArgumentError } from 'commander'
import { failed, failWith } from '../../client/failure.js'
import { resolvePaths } from '../../config/paths.js'
import { systemClock } from '../../std/clock.js'
import type { Session } from '../context.js'
import { printable } from '../printable.js'
import { createRunTool } from '../service/manager.js'
import { type CommonOptions, type Start, withJson } from '../start.js'
import { formatLogLine } from './log-line.js'

interface LogsOptions extends CommonOptions {
  readonly follow?: boolean
  readonly lines?: number
}

const DEFAULT_LINES = 200
const JOURNAL = ['--user', '--unit', 'prefect-authd', '--quiet', '--no-pager']

export function addLogs(program: Command, start: Start): void {
  withJson(program.command('logs [source]'))
    .description("the daemon's log, made readable; - reads it from stdin")
    .option('-f, --follow', 'go on until Ctrl-C')
    .option('-n, --lines <number>', `begin so many lines back (default: ${DEFAULT_LINES})`, parseCount)
    .action((source: string | undefined, options: LogsOptions) =>
      start('logs', options, (session) => showLogs(session, source, options)),
    )
}

function parseCount(text: string): number {
  if (!/^\d{1,7}$/.test(text)) throw new InvalidArgumentError('It is a number of lines.')
  return Number(text)
}

async function showLogs(session: Session, source: string | undefined, options: LogsOptions): Promise<void> {
  if (source === '-') return copyLines(session, session.terminal.stdin)
  if (source !== undefined) return copyLines(session, createReadStream(source, 'utf8'))
  const file = join(resolvePaths(session.terminal).stateDir, 'authd.log')
  const lines = String(options.lines ?? DEFAULT_LINES)
  const follow = options.follow === true
  if (await isNewest(file, session)) {
    return runAndCopy(session, 'tail', ['-n', lines, ...(follow ? ['-F'] : []), file])
  }
  const readable = ['--output', 'cat', '-n', lines, ...(follow ? ['--follow'] : [])]
  return runAndCopy(session, 'journalctl', [...JOURNAL, ...readable])
}

/** The file is of a daemon that was started by hand: perhaps long ago, and the service has logged to the journal since. */
async function isNewest(file: string, { terminal }: Session): Promise<boolean> {
  if (!existsSync(file)) return false
  const runTool = createRunTool(terminal.env, systemClock())
  const { stdout } = await runTool('journalctl', ...JOURNAL, '--output', 'short-unix', '-n', '1')
  return statSync(file).mtimeMs >= Number.parseFloat(stdout || '0') * 1000
}

/** The program's output, made readable; its end is ours. */
async function runAndCopy(session: Session, program: string, args: readonly string[]): Promise<void> {
  const child = spawn(program, [...args], { stdio: ['ignore', 'pipe', 'ignore'], signal: session.signal })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', (error) => reject(session.signal.aborted ? error : noLog()))
    child.on('close', resolve)
  })
  const [count, code] = await Promise.all([countLines(session, child.stdout), ended])
  if (count === 0 && !session.signal.aborted) throw noLog()
  if (code !== 0 && code !== null) failWith(unreadable(program, code))
}

async function copyLines(session: Session, input: Readable): Promise<void> {
  await countLines(session, input)
}

async function countLines(session: Session, input: Readable): Promise<number> {
  let count = 0
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })
  session.signal.addEventListener('abort', () => lines.close(), { once: true })
  for await (const line of lines) {
    count += 1
    session.print(session.isJson ? printable(line) : formatLogLine(line, session.colors))
  }
  return count
}

function unreadable(program: string, code: number) {
  return { code: 'log_unreadable', kind: 'unavailable', detail: `${program} ended with ${code}` } as const
}

function noLog(): Error {
  return failed({
    code: 'log_not_found',
    kind: 'not_found',
    detail:
      'there is no log of a user service prefect-authd here: the daemon writes to the terminal it was started on',
    hint: 'prefect-authd 2>&1 | prefect-auth logs -',
  })
}
