/** Names the callers of audited requests in the background: the audit line is there first, and who it was follows. */
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Audit } from '../audit/audit.js'
import { SECOND_MS } from '../std/clock.js'

export interface Callers {
  /** A name for the connection that is in all its audit lines; who is at its other end is recorded once it is known. */
  note(socket: Socket): string
}

/** A flood must not keep the system busy with questions: this many at once, and then one every so often. */
export const QUESTIONS = { burst: 20, everyMs: SECOND_MS } as const

export function createCallers(
  audit: Pick<Audit, 'record'>,
  find: (socket: Socket) => Promise<string | undefined>,
  mayAsk: () => boolean,
): Callers {
  const names = new WeakMap<Socket, string>()
  const waiting: (readonly [socket: Socket, conn: string])[] = []
  let isBusy = false

  async function work(): Promise<void> {
    if (isBusy) return
    isBusy = true
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [socket, conn] = next
      const caller = await find(socket).catch(() => undefined)
      if (caller !== undefined)
        audit.record({ action: 'caller', outcome: 'done', door: 'daemon', conn, caller })
    }
    isBusy = false
  }

  return {
    note(socket) {
      const known = names.get(socket)
      if (known !== undefined) return known
      const conn = randomBytes(6).toString('hex')
      names.set(socket, conn)
      if (waiting.length < QUESTIONS.burst && mayAsk()) {
        waiting.push([socket, conn])
        void work()
      }
      return conn
    },
  }
}
