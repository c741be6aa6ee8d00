/** Plain HTTP responses to a WebSocket upgrade: refusals and faults. */
import { STATUS_CODES } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { strikeBefore } from '../faults/effects.js'
import type { Fault } from '../faults/faults.js'
import type { Answer } from '../ui/exchange.js'

/** Sends the response and closes. */
export function refuseUpgrade(socket: Duplex, { status, headers, body }: Answer): void {
  const content = Buffer.isBuffer(body) ? body : Buffer.alloc(0)
  const all = { ...headers, 'content-length': String(content.length), connection: 'close' }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${String(value)}\r\n`)
  socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n`)
  socket.end(content)
}

/** Applies a fault to an upgrade; returns true if the upgrade may continue. */
export async function strikeUpgrade(fault: Fault, socket: Duplex): Promise<boolean> {
  const before = await strikeBefore(fault, () => {
    if (socket instanceof Socket) socket.resetAndDestroy()
    else socket.destroy()
  })
  if (before.kind === 'answer') refuseUpgrade(socket, before.answer)
  return before.kind === 'process'
}
