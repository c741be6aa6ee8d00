/** The log as the rooms see it. Messages are constant; facts go into the object. */

export type LogFacts = Readonly<Record<string, unknown>>

export interface Log {
  debug(facts: LogFacts, message: string): void
  info(facts: LogFacts, message: string): void
  warn(facts: LogFacts, message: string): void
  error(facts: LogFacts, message: string): void
  /** The same log with `facts` on every line. */
  child(facts: LogFacts): Log
}

/** Writes nothing. */
export function silentLog(): Log {
  const log: Log = {
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: () => undefined,
    child: () => log,
  }
  return log
}
