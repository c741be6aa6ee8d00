/** The newest lines of the audit log: kept as bytes while it is read from its end, and parsed a page at a time. */

import { type AuditEntry, isAuditLine, parseAuditLine } from './audit.js'

/** How many entries a page has at most. */
const PAGE = 50
const CALLER = '"action":"caller"'

interface NewestLines {
  /** The next older line; returns whether there is room for more. What is no line of ours, or too old, takes none. */
  add(line: Buffer): boolean
  /** The entries, oldest first. */
  pages(): Generator<readonly AuditEntry[]>
}

/** `since`: epoch ms; `most`: how many lines are kept. */
export function createNewestLines(since: number, most: number): NewestLines {
  const from = new Date(Math.min(Math.max(since, 0), 8.64e15)).toISOString()
  /** Newest first; the lines in each one oldest first. Bytes, which the garbage collector has no work with. */
  const blocks: Buffer[] = []
  let open: string[] = []
  let count = 0
  /** By connection: a caller becomes known after its entries were written. */
  const callers = new Map<string, string>()

  const close = () => {
    blocks.push(Buffer.from(open.reverse().join('\n')))
    open = []
  }
  const learn = (line: string) => {
    const { action, conn, caller } = parseAuditLine(line) ?? {}
    if (action !== 'caller' || conn === undefined || caller === undefined || callers.has(conn)) return
    callers.set(conn, caller)
  }
  const withCaller = (entry: AuditEntry): AuditEntry =>
    entry.conn === undefined ? entry : { ...entry, caller: callers.get(entry.conn) ?? 'unknown' }

  return {
    add(line) {
      if (!isAuditLine(line, from)) return count < most
      const text = line.toString('utf8')
      if (text.includes(CALLER)) learn(text)
      open.push(text)
      if (open.length === PAGE) close()
      count += 1
      return count < most
    },
    *pages() {
      close()
      for (const block of blocks.toReversed()) {
        const entries = block
          .toString('utf8')
          .split('\n')
          .flatMap((line) => parseAuditLine(line) ?? [])
        yield entries.filter(({ action }) => action !== 'caller').map(withCaller)
      }
    },
  }
}
