/** The log: one JSON line per message by pino. A second net takes secrets out of whatever slips past `Secret`. */
import { type DestinationStream, destination as openDestination, pino } from 'pino'
import type { Log, LogFacts } from '../std/log.js'
import { scrub } from '../std/text.js'
import { cleanFacts } from './log-facts.js'

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** A file descriptor (2 is stderr), a file to append to (made 0600), or anything that takes lines. */
export type LogDestination = number | string | { write(line: string): unknown }

export interface OpenLog extends Log {
  level(): LogLevel
  /** Counts at once, for every child too. */
  setLevel(level: LogLevel): void
  close(): void
}

/** Opens the log. Throws the system's error where a file can't be opened; later failures to write are dropped. */
export function openLog({
  level,
  destination,
}: {
  readonly level: LogLevel
  readonly destination: LogDestination
}): OpenLog {
  const sink = openSink(destination)
  // pino lets everything through and the threshold stands here: a level of pino does not reach existing children.
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
  // Synchronous: a line about a crash must be out before the crash, and no request of ours writes a line.
  const stream = openDestination({ dest: destination, sync: true, mode: 0o600 })
  // A full disk or a closed pipe must not take the daemon down.
  stream.on('error', () => undefined)
  return {
    write: (line) => void stream.write(line),
    close: () => (typeof destination === 'string' ? stream.end() : stream.flushSync()),
  }
}
