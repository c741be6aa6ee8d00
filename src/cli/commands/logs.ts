/** `prefect-auth logs`: the daemon's log made readable, from the journal, its file or a pipe. */
import { spawn } from 'node:child_process'
import { createReadStream, existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { type Command, InvalidArgumentError } from 'commander'
import pc from 'picocolors'
import { failed, failWith } from '../../client/failure.js'
import { resolvePaths } from '../../config/paths.js'
import { systemClock } from '../../std/clock.js'
import { createRunTool } from '../service/manager.js'
import { type Colors, type CommonOptions, type Session, type Start, withJson } from '../session.js'
import { printable } from '../text.js'

interface LogsOptions extends CommonOptions {
  readonly follow?: boolean
  readonly lines?: number
}

const DEFAULT_LINES = 200
const JOURNAL = ['--user', '--unit', 'prefect-authd', '--quiet', '--no-pager']

export function addLogs(program: Command, start: Start): void {
  withJson(program.command('logs [source]'))
    .description("show the daemon's log in readable form; - reads it from stdin")
    .option('-f, --follow', 'keep printing new lines until Ctrl-C')
    .option('-n, --lines <number>', `start this many lines back (default: ${DEFAULT_LINES})`, parseCount)
    .action((source: string | undefined, options: LogsOptions) =>
      start('logs', options, (session) => showLogs(session, source, options)),
    )
}

function parseCount(text: string): number {
  if (!/^\d{1,7}$/.test(text)) throw new InvalidArgumentError('Expected a number of lines.')
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

/** The last lines of the newest log, readable and without colours; none if there is no log. */
export async function lastLogLines(session: Session, count: number): Promise<readonly string[]> {
  const lines: string[] = []
  const plain = {
    ...session,
    isJson: false,
    colors: pc.createColors(false),
    print: (line: string) => void lines.push(line),
  }
  await showLogs(plain, undefined, { lines: count })
  return lines
}

/** A daemon started by hand writes the file, perhaps long ago: then the service's journal is newer. */
async function isNewest(file: string, { terminal }: Session): Promise<boolean> {
  if (!existsSync(file)) return false
  const runTool = createRunTool(terminal.env, systemClock())
  const { stdout } = await runTool('journalctl', ...JOURNAL, '--output', 'short-unix', '-n', '1')
  return statSync(file).mtimeMs >= Number.parseFloat(stdout || '0') * 1000
}

/** Prints the program's output in readable form until the program ends. */
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
  return {
    code: 'log_unreadable',
    kind: 'unavailable',
    detail: `cannot read the log: ${program} exited with code ${code}`,
  } as const
}

function noLog(): Error {
  return failed({
    code: 'log_not_found',
    kind: 'not_found',
    detail: 'no log of the service found; a daemon started by hand logs to its terminal',
    hint: 'prefect-authd 2>&1 | prefect-auth logs -',
  })
}

const NAMES: Readonly<Record<number, string>> = {
  10: 'TRACE',
  20: 'DEBUG',
  30: 'INFO',
  40: 'WARN',
  50: 'ERROR',
  60: 'FATAL',
}

/** `2026-11-20 18:45:52Z INFO  message  profile=cloud`; a line that is not JSON is left as it is. */
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

/** Of an error only the message: the stack has many lines, and `--json` shows it. */
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
