/** The daemon program: arguments and environment, signals and exit codes around a running daemon. */
import { randomBytes } from 'node:crypto'
import { realpathSync, statSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { BrokerError } from '../base/errors.js'
import { resolvePaths } from '../config/paths.js'
import { flagName, resolveSettings, SETTINGS, type Settings, variableName } from '../config/settings.js'
import { type Daemon, startDaemon } from '../daemon/daemon.js'
import {
  type InheritedSockets,
  LISTEN_VARIABLES,
  parseInheritedSockets,
} from '../daemon/inherited-sockets.js'
import { openLog } from '../daemon/open-log.js'
import { countStart } from '../daemon/starts.js'
import { ensurePrivateDirectory, readPlainFile } from '../os/private-files.js'
import type { StatusSnapshot } from '../status/status.js'
import { MINUTE_MS, SECOND_MS, systemClock } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { startTicking } from '../std/tick.js'
import { closeDebugger, findDebugger } from './debugger.js'
import { findHome } from './home.js'
import { VERSION } from './version.js'

const USAGE = 2
/** How often a debugger port is looked for: at the moments at which the daemon wakes anyway. */
const DEBUGGER_MS = 30 * SECOND_MS
const IDLE = 'idle'
/** `idle_exit` of a daemon that a command started, unless it is set. */
const ON_DEMAND_IDLE_MS = 15 * MINUTE_MS
/** Its listeners are closed by then: clients wait until it is gone. */
const LEAVE_WITHIN_MS = 20 * SECOND_MS

async function main(): Promise<void> {
  // Nothing that we create is for other users, whatever the shell's umask says.
  process.umask(0o077)
  // By default Node opens a debugger port on this signal, through which every key could be read.
  process.on('SIGUSR1', () => undefined)
  // Who read our output may have gone: that is no reason to end.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  const debug = findDebugger(process)
  if (debug !== undefined) {
    // Not only refused: until the process has ended the port would stay open.
    closeDebugger()
    return fail(1, debug.message, debug.hint)
  }
  const flags = readFlags()
  if (flags === undefined) return
  const paths = resolvePaths({
    env: process.env,
    home: findHome('prefect-authd'),
    platform: process.platform,
    ...defined({ uid: process.getuid?.() }),
  })
  const clock = systemClock(uptime)
  const early = openLog({ level: 'info', destination: 2 })
  const { env, platform } = process
  const start = await countStart({ env, platform, clock, stateDir: paths.stateDir, log: early })
  if (start.kind === 'given_up') return
  const file = await readConfig(paths.configFile)
  const outcome = resolveSettings({ flags, env: process.env, ...defined({ file }) })
  if (outcome.kind === 'problems') {
    return fail(
      USAGE,
      outcome.problems.map(({ message }) => message).join('\nprefect-authd: '),
      'prefect-authd --help',
    )
  }
  // Set by the command that started it.
  const isOnDemand = env.PREFECT_AUTHD_STARTED_BY === 'request'
  const { idle_exit } = outcome.settings
  const settings = {
    ...outcome.settings,
    idle_exit: isOnDemand && idle_exit === 'off' ? ON_DEMAND_IDLE_MS : idle_exit,
  }
  // In a terminal the log is written into it.
  await ensurePrivateDirectory(paths.stateDir)
  const { log, destination } = openDaemonLog(
    settings['log.level'],
    loggedTo(process.stderr.isTTY === true || isOnDemand, paths.stateDir),
  )
  const stop = stopOnce(start.endedWell)
  const bundle = dirname(realpathSync(fileURLToPath(import.meta.url)))
  const daemon = await startDaemon({
    version: VERSION,
    settings,
    shares: outcome.shares,
    paths,
    ...defined({ configFile: file?.path }),
    env: process.env,
    isOnDemand,
    host: {
      pid: process.pid,
      node: process.version,
      execPath: process.execPath,
      hostname: hostname(),
      platform: process.platform,
      ...defined({ uid: process.getuid?.() }),
    },
    inherited: takeInheritedSockets(),
    keychainChild: join(bundle, 'keychain-child.js'),
    pageFile: join(bundle, 'page.json'),
    clock,
    log,
    random: Math.random,
    newId: () => randomBytes(6).toString('hex'),
    randomToken: () => randomBytes(32).toString('base64url'),
    onShutdown: (why) => stop(why === 'idle' ? IDLE : 'asked to shut down'),
  })
  startTicking({
    clock,
    everyMs: DEBUGGER_MS,
    log,
    run: async () => {
      if (closeDebugger())
        log.error({}, 'a debugger port was open: closed; whoever used it may have read keys')
    },
  })
  stop.arm(daemon, (reason) => log.info({ reason }, 'stopping'))
  process.stdout.write(greeting(daemon.snapshot(), destination))
}

/** Milliseconds. To load Node's `performance` takes a fortieth of a start. */
function uptime(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * SECOND_MS + nanoseconds / 1e6
}

/** They are for this process: no child may take them for its own. */
function takeInheritedSockets(): InheritedSockets {
  try {
    return parseInheritedSockets(process.env, process.pid)
  } finally {
    for (const name of LISTEN_VARIABLES) delete process.env[name]
  }
}

function readFlags(): Record<string, string> | undefined {
  const options = Object.fromEntries(
    Object.keys(SETTINGS).map((name) => [flagName(name), { type: 'string' } as const]),
  )
  const extra = { help: { type: 'boolean', short: 'h' }, version: { type: 'boolean' } } as const
  try {
    const { values } = parseArgs({ options: { ...options, ...extra }, allowPositionals: false })
    if (values.help === true) process.stdout.write(helpText(SETTINGS))
    else if (values.version === true) process.stdout.write(`${VERSION}\n`)
    else return settingFlags(values)
  } catch (error) {
    fail(USAGE, error instanceof Error ? error.message : 'unreadable arguments', 'prefect-authd --help')
  }
  return undefined
}

function settingFlags(values: Readonly<Record<string, unknown>>): Record<string, string> {
  const byFlag = Object.keys(SETTINGS).map((name): [string, unknown] => [name, values[flagName(name)]])
  return Object.fromEntries(byFlag.filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
}

async function readConfig(path: string): Promise<{ path: string; text: string } | undefined> {
  try {
    const content = await readPlainFile(path)
    return content && { path, text: content.toString('utf8') }
  } catch (error) {
    if (error instanceof BrokerError) throw error
    throw new BrokerError('setting_invalid', `cannot read ${path}`, { hint: `ls -l ${path}`, cause: error })
  }
}

interface Stop {
  (reason: string): void
  arm(daemon: Daemon, say: (reason: string) => void): void
}

/** Signals and the shutdown route end the daemon once, in order; a second signal ends it at once. */
function stopOnce(endedWell: () => Promise<void>): Stop {
  let running: { daemon: Daemon; say: (reason: string) => void } | undefined
  let stopping: string | undefined
  const stop = (reason: string) => {
    // The system may stop it in the very moment of an idle exit: that is no second signal.
    if (stopping === IDLE && running !== undefined) {
      stopping = reason
      return
    }
    if (stopping !== undefined || running === undefined) process.exit(reason.startsWith('SIG') ? 130 : 1)
    stopping = reason
    running.say(reason)
    if (reason === IDLE) setTimeout(() => process.exit(1), LEAVE_WITHIN_MS).unref()
    running.daemon
      .close()
      .then(endedWell)
      .then(
        () => process.exit(0),
        () => process.exit(1),
      )
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop(signal))
  return Object.assign(stop, {
    arm(daemon: Daemon, say: (reason: string) => void) {
      running = { daemon, say }
    },
  })
}

function fail(code: number, message: string, hint?: string): void {
  process.stderr.write(`prefect-authd: ${message}\n${hint === undefined ? '' : `  try: ${hint}\n`}`)
  process.exitCode = code
}

main().catch((error: unknown) => {
  if (error instanceof BrokerError) fail(1, error.message, error.hint)
  else fail(1, error instanceof Error ? (error.stack ?? error.message) : 'unknown error')
  process.exit()
})

/** Under systemd and launchd stderr is the log; in a terminal it would bury the greeting, and a daemon on demand has none. */
function loggedTo(isFile: boolean, stateDir: string): string | undefined {
  return isFile ? join(stateDir, 'authd.log') : undefined
}

/** A disk that takes no log must not prevent the start: stderr takes it then. */
function openDaemonLog(level: Settings['log.level'], wanted: string | undefined) {
  if (wanted === undefined) return { log: openLog({ level, destination: 2 }), destination: undefined }
  try {
    // Opening a pipe would wait for its reader.
    if (statSync(wanted, { throwIfNoEntry: false })?.isFile() === false) throw new Error('not a plain file')
    return { log: openLog({ level, destination: wanted }), destination: wanted }
  } catch (error) {
    const log = openLog({ level, destination: 2 })
    log.warn({ path: wanted, error }, 'log file not opened; logging to stderr')
    return { log, destination: undefined }
  }
}

/** Five lines: addresses, paths, the vault and why, the active profile, what to type next. */
function greeting(
  { daemon, listeners, vault, reading, profiles, active }: StatusSnapshot,
  log: string | undefined,
): string {
  const state = profiles.find(({ resolved }) => resolved.name === active)
  const next =
    state?.outcome.kind === 'served' && state.resolved.kind !== 'none'
      ? 'prefect-auth status   ·   eval "$(prefect-auth env)"   ·   prefect-auth exec -- CMD'
      : 'prefect-auth login'
  return [
    `prefect-authd ${daemon.version} listens on ${listeners.map(sayListener).join(', ')}`,
    `state in ${daemon.stateDir}, profiles in ${reading.path}${log === undefined ? '' : `, log in ${log}`}`,
    `vault: ${vault.backend}, at rest: ${vault.atRest} (${vault.because})`,
    `active profile: ${active}${state ? ` (${state.resolved.because})` : ''}`,
    `next, in another terminal: ${next}`,
    '',
  ].join('\n')
}

function sayListener({ door, address, state, problem }: StatusSnapshot['listeners'][number]): string {
  if (state === 'listening') return address
  return door === 'tcp' && state === 'off' ? 'no TCP port' : (problem ?? address)
}

/** The text of `--help`, generated from the settings. */
function helpText(settings: typeof SETTINGS): string {
  const rows = Object.entries(settings).map(([name, { meaning, default: fallback }]) => {
    const value = fallback === undefined ? 'unset' : Array.isArray(fallback) ? '[]' : String(fallback)
    return `  --${flagName(name)}=…\n      ${meaning} (default ${value}; config.toml: ${name}; ${variableName(name)})`
  })
  return [
    'usage: prefect-authd [--SETTING=VALUE]…',
    '',
    'Runs in the foreground until SIGTERM. Settings: flags, then environment, then config.toml, then defaults.',
    '',
    ...rows,
    '',
    'Paths, by environment only: PREFECT_AUTH_CONFIG, PREFECT_AUTH_STATE_DIR, PREFECT_AUTH_SOCKET',
    '',
  ].join('\n')
}
