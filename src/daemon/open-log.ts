/** The log: one JSON line per message, by pino. Removes secrets that slipped past `Secret`. */
import { type DestinationStream, destination as openDestination, pino } from 'pino'
import type { Log, LogFacts } from '../std/log.js'
import { scrub } from '../std/text.js'

const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const
type LogLevel = (typeof LOG_LEVELS)[number]

/** A file descriptor (2 is stderr), a file to append to (created 0600), or anything that takes lines. */
type LogDestination = number | string | { write(line: string): unknown }

export interface OpenLog extends Log {
  level(): LogLevel
  /** Takes effect at once, for each child too. */
  setLevel(level: LogLevel): void
  close(): void
}

/** Opens the log. Throws the system's error if the file cannot be opened; later write failures are dropped. */
export function openLog({
  level,
  destination,
}: {
  readonly level: LogLevel
  readonly destination: LogDestination
}): OpenLog {
  const sink = openSink(destination)
  // The threshold is ours, pino lets everything through: a level of pino does not reach existing children.
  const root = pino(
    {
      level: 'debug',
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => sink.write(scrub(line)) },
  )
  const state = { threshold: LOG_LEVELS.indexOf(level), isClosed: false }
  return {
    ...wrap(root, state),
    level: () => LOG_LEVELS[state.threshold] ?? 'info',
    setLevel(wanted) {
      state.threshold = LOG_LEVELS.indexOf(wanted)
    },
    close() {
      if (state.isClosed) return
      state.isClosed = true
      sink.close()
    },
  }
}

interface State {
  threshold: number
  isClosed: boolean
}

type Writer = Pick<pino.Logger, LogLevel | 'child'>

function wrap(logger: Writer, state: State): Log {
  const at = (level: LogLevel) => {
    const rank = LOG_LEVELS.indexOf(level)
    return (facts: LogFacts, message: string): void => {
      if (rank >= state.threshold && !state.isClosed) logger[level](cleanFacts(facts), message)
    }
  }
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (facts) => wrap(logger.child(cleanFacts(facts)), state),
  }
}

interface Sink extends DestinationStream {
  close(): void
}

function openSink(destination: LogDestination): Sink {
  if (typeof destination === 'object') {
    return { write: (line) => void destination.write(line), close: () => undefined }
  }
  // Synchronous: a line about a crash must be written before the crash, and no request writes a line.
  const stream = openDestination({ dest: destination, sync: true, mode: 0o600 })
  // A full disk or a closed pipe must not take the daemon down.
  stream.on('error', () => undefined)
  return {
    write: (line) => void stream.write(line),
    close: () => (typeof destination === 'string' ? stream.end() : stream.flushSync()),
  }
}

const CENSORED = '[secret]'
const MAX_DEPTH = 8
const MAX_ITEMS = 100
const MAX_TEXT = 10_000

/** Names whose values are always secrets, lower case without `_` and `-`. */
const SECRET_NAMES: ReadonlySet<string> = new Set([
  'apikey',
  'prefectapikey',
  'authstring',
  'prefectapiauthstring',
  'authorization',
  'proxyauthorization',
  'cookie',
  'setcookie',
  'key',
  'token',
  'secret',
  'password',
  'passphrase',
])

/** A copy of `facts` as plain JSON values. Never throws. */
function cleanFacts(facts: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return cleanEntries(facts, 0)
}

function cleanEntries(value: object, depth: number): Record<string, unknown> {
  const clean: Record<string, unknown> = {}
  for (const name of Object.keys(value).slice(0, MAX_ITEMS))
    clean[scrub(name)] = cleanNamed(name, value, depth)
  return clean
}

function cleanNamed(name: string, owner: object, depth: number): unknown {
  try {
    const value: unknown = Reflect.get(owner, name)
    // `key: {…}` has facts about a key; `key: "…"` is one.
    const isText = typeof value === 'string' || Array.isArray(value)
    if (isText && SECRET_NAMES.has(name.toLowerCase().replace(/[_-]/g, ''))) return CENSORED
    return clean(value, depth + 1)
  } catch {
    return '[unreadable]'
  }
}

function clean(value: unknown, depth: number): unknown {
  if (typeof value === 'string')
    return scrub(value.length > MAX_TEXT ? `${value.slice(0, MAX_TEXT)}…` : value)
  if (typeof value === 'bigint') return String(value)
  if (typeof value === 'function' || typeof value === 'symbol') return undefined
  if (typeof value !== 'object' || value === null) return value
  if (depth > MAX_DEPTH) return '[too deep]'
  if (value instanceof Error) return cleanError(value, depth)
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`
  if (Array.isArray(value)) return value.slice(0, MAX_ITEMS).map((item) => clean(item, depth + 1))
  if (value instanceof Map || value instanceof Set) return `[${value.size} items]`
  // Secret, Date and URL know their own JSON.
  if ('toJSON' in value && typeof value.toJSON === 'function') return clean(value.toJSON(), depth + 1)
  return cleanEntries(value, depth)
}

/** Type, message, stack, every own field (code, hint, …), causes and parts, to any depth. */
function cleanError(error: Error, depth: number): Record<string, unknown> {
  const { name, message, stack, cause } = error
  const parts = error instanceof AggregateError ? { errors: clean(error.errors, depth + 1) } : {}
  return {
    ...cleanEntries(error, depth),
    type: scrub(name),
    message: scrub(message),
    ...(stack === undefined ? {} : { stack: scrub(stack) }),
    ...(cause === undefined ? {} : { cause: clean(cause, depth + 1) }),
    ...parts,
  }
}
