/** Names the callers of audited requests in the background: the audit line is there first, and who it was follows. */
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Audit } from '../audit/audit.js'

export interface Callers {
  /** A name for the connection that is in all its audit lines; who is at its other end is recorded once it is known. */
  note(socket: Socket): string
}

/** A flood must not keep the system busy with questions. */
const MAX_WAITING = 20

export function createCallers(
  audit: Pick<Audit, 'record'>,
  find: (socket: Socket) => Promise<string | undefined>,
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
      if (waiting.length < MAX_WAITING) {
        waiting.push([socket, conn])
        void work()
      }
      return conn
    },
  }
}
