/** Guarded listeners: what one throws ends the connection that it serves, and never the process. */

/** A socket, a request or a response: whatever ends one connection when it is destroyed. */
interface Connection {
  destroy(): unknown
}

/** `report` is told what was thrown: a bug, or input that nobody thought of. */
export function guarded<Args extends readonly unknown[]>(
  connection: Connection,
  listener: (...args: Args) => void,
  report: (error: unknown) => void = () => undefined,
): (...args: Args) => void {
  return (...args) => {
    try {
      listener(...args)
    } catch (error) {
      connection.destroy()
      report(error)
    }
  }
}
