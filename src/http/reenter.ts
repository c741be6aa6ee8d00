/**
 * A request that offers an upgrade which is not ours to take goes back to where requests come from, without the offer: a
 * server with an `upgrade` listener gets all of them there, even Java's h2c that nobody has to answer.
 */
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { headerLines } from '../proxy/parking.js'

export function reenter(server: Server, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const raw = request.rawHeaders
  const headers: string[] = []
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const value = raw[index + 1] ?? ''
    const isConnection = name.toLowerCase() === 'connection'
    headers.push(name, isConnection ? withoutUpgrade(value) : value)
  }
  const line = `${request.method} ${request.url} HTTP/${request.httpVersion}\r\n`
  socket.unshift(Buffer.concat([Buffer.from(`${line}${headerLines(headers)}\r\n`, 'latin1'), head]))
  server.emit('connection', socket)
}

/** Without this word the parser takes no offer for one; the guard sees the `Upgrade` header itself. */
function withoutUpgrade(connection: string): string {
  const tokens = connection.split(',').map((token) => token.trim())
  const kept = tokens.filter((token) => token.toLowerCase() !== 'upgrade')
  return kept.length === 0 ? 'keep-alive' : kept.join(', ')
}
