/** WebSockets whose handshake had no token: accepted here, and nothing is dialled before their first message has one. */
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { BrokerError } from '../base/errors.js'
import { guarded } from '../http/guarded.js'
import { headerValues } from '../http/headers.js'
import type { Clock } from '../std/clock.js'
import { authExpected } from './first-frame.js'
import { closeFrame, createFirstMessage, type Frame, OPCODE, writeFrame } from './frames.js'
import { SUBPROTOCOL } from './headers.js'
import { farewell } from './wires.js'

/** What a stranger has said. */
export interface Introduction {
  readonly text: string | undefined
  readonly mask: Buffer | undefined
  /** What came after it. */
  readonly rest: Buffer
}

/** RFC 6455 4.2.2. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** Answers the handshake: subprotocol `prefect`, no extensions. Throws `bad_request` if it is not one. */
export function acceptHandshake(request: IncomingMessage, socket: Duplex): void {
  const [key = '', ...others] = headerValues(request.rawHeaders, 'sec-websocket-key')
  const isHandshake = /^[\w+/]{22}==$/.test(key) && request.headers['sec-websocket-version'] === '13'
  if (!isHandshake || others.length > 0) {
    throw new BrokerError('bad_request', 'the WebSocket handshake must have a key and version 13')
  }
  const accept = createHash('sha1').update(`${key}${GUID}`).digest('base64')
  socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: ${SUBPROTOCOL}\r\n\r\n`,
    'latin1',
  )
}

export interface StrangerLimits {
  /** Until the first message is here. */
  readonly firstFrameMs: number
  /** How much may come before it, pings included. */
  readonly strangerBytes: number
}

/**
 * Resolves with the first message; the socket is paused then. `undefined` if the client has gone or has closed. Rejects
 * with `token_required` if it comes too late, or is none.
 */
export function awaitIntroduction(
  socket: Duplex,
  head: Buffer,
  { firstFrameMs, strangerBytes }: StrangerLimits,
  clock: Clock,
): Promise<Introduction | undefined> {
  return new Promise((resolve, reject) => {
    const first = createFirstMessage()
    let heard = 0
    const stop = () => {
      late.cancel()
      socket.off('data', onData).off('close', onGone).off('end', onGone).off('drain', onDrain).pause()
    }
    const refuse = (error: BrokerError) => {
      stop()
      reject(error)
    }
    const late = clock.after(firstFrameMs, () => refuse(authExpected()))
    const onGone = () => {
      stop()
      socket.destroy()
      resolve(undefined)
    }
    const onDrain = () => socket.resume()
    /** Prefect's clients wait for the pong before they authenticate. */
    const answer = ({ opcode, payload }: Frame): boolean => {
      if (opcode === OPCODE.close) {
        stop()
        farewell(socket, closeFrame(1000, ''), clock)
        resolve(undefined)
        return false
      }
      if (opcode === OPCODE.ping && !socket.write(writeFrame(OPCODE.pong, payload))) socket.pause()
      return true
    }
    const onData = guarded(socket, (chunk: Buffer) => {
      heard += chunk.length
      const progress = heard > strangerBytes ? TOO_MUCH : first.push(chunk)
      if (progress.kind === 'broken') return refuse(authExpected())
      if (!progress.controls.every(answer) || progress.kind === 'waiting') return
      stop()
      const { message, rest } = progress
      resolve({ text: message.text, mask: message.mask, rest })
    })
    socket.on('data', onData).on('close', onGone).on('end', onGone).on('drain', onDrain).resume()
    if (head.length > 0) onData(head)
  })
}

const TOO_MUCH = { kind: 'broken' } as const
