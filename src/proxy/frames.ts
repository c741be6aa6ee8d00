/** WebSocket frames: reads and writes them, and finds a client's first message. */
import { constants, inflateRawSync } from 'node:zlib'

export interface Frame {
  readonly isFinal: boolean
  /** The three reserved bits; the first marks a compressed message (RFC 7692). */
  readonly reserved: number
  readonly opcode: number
  /** `undefined` if the frame is not masked. */
  readonly mask: Buffer | undefined
  /** Unmasked. */
  readonly payload: Buffer
  /** As it came. */
  readonly bytes: Buffer
}

/** What a buffer begins with. `large`: its payload is longer than allowed. */
type Reading =
  | { readonly kind: 'frame'; readonly frame: Frame; readonly rest: Buffer }
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'large' }

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

/** The first frame of `bytes`, with a payload of at most `most` bytes. */
function readFrame(bytes: Buffer, most: number): Reading {
  if (bytes.length < 2) return { kind: 'incomplete' }
  const [first = 0, second = 0] = bytes
  const isMasked = (second & 0x80) !== 0
  const short = second & 0x7f
  const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0
  const maskAt = 2 + lengthBytes
  if (bytes.length < maskAt) return { kind: 'incomplete' }
  const length = lengthOf(bytes, short)
  if (length > most) return { kind: 'large' }
  const payloadAt = maskAt + (isMasked ? 4 : 0)
  const end = payloadAt + length
  if (bytes.length < end) return { kind: 'incomplete' }
  const mask = isMasked ? bytes.subarray(maskAt, payloadAt) : undefined
  const payload = bytes.subarray(payloadAt, end)
  const frame = {
    isFinal: (first & 0x80) !== 0,
    reserved: (first & 0x70) >> 4,
    opcode: first & 0x0f,
    mask,
    payload: mask === undefined ? payload : masked(payload, mask),
    bytes: bytes.subarray(0, end),
  }
  return { kind: 'frame', frame, rest: bytes.subarray(end) }
}

function lengthOf(bytes: Buffer, short: number): number {
  if (short === 126) return bytes.readUInt16BE(2)
  return short === 127 ? Number(bytes.readBigUInt64BE(2)) : short
}

/** One final frame. A client's must be masked. */
export function writeFrame(opcode: number, payload: Buffer, mask?: Buffer): Buffer {
  const head = [Buffer.from([0x80 | opcode, ...lengthBytes(payload.length, mask === undefined ? 0 : 0x80)])]
  if (mask === undefined) return Buffer.concat([...head, payload])
  return Buffer.concat([...head, mask, masked(payload, mask)])
}

function lengthBytes(length: number, bit: number): readonly number[] {
  if (length < 126) return [bit | length]
  if (length < 65_536) return [bit | 126, length >> 8, length & 0xff]
  const long = Buffer.alloc(8)
  long.writeBigUInt64BE(BigInt(length))
  return [bit | 127, ...long]
}

/** What no reason of ours exceeds: a control frame has at most 125 bytes. */
const REASON_BYTES = 123

export function closeFrame(code: number, reason: string): Buffer {
  const text = Buffer.from(reason).subarray(0, REASON_BYTES)
  const payload = Buffer.alloc(2 + text.length)
  payload.writeUInt16BE(code, 0)
  text.copy(payload, 2)
  return writeFrame(OPCODE.close, payload)
}

/** Masking and unmasking are the same. */
function masked(payload: Buffer, mask: Buffer): Buffer {
  const out = Buffer.allocUnsafe(payload.length)
  for (let index = 0; index < payload.length; index += 1) {
    out[index] = (payload[index] ?? 0) ^ (mask[index & 3] ?? 0)
  }
  return out
}

interface Message {
  /** `undefined` if it is too long, or compressed and cannot be read. */
  readonly text: string | undefined
  /** The client's own: nobody else could predict it. */
  readonly mask: Buffer | undefined
  /** As it came; if it is too long, as much of it as has come. */
  readonly bytes: Buffer
}

/** `controls`: pings, pongs and closes that came before, or between its fragments. */
type Progress =
  | { readonly kind: 'waiting'; readonly controls: readonly Frame[] }
  | {
      readonly kind: 'whole'
      readonly controls: readonly Frame[]
      readonly message: Message
      /** What came after it. */
      readonly rest: Buffer
    }
  | { readonly kind: 'broken'; readonly code: number; readonly reason: string }

export interface FirstMessage {
  /** Takes bytes of the client. Not to be called once the message is whole, or broken. */
  push(chunk: Buffer): Progress
}

/** No auth message is longer. */
const MOST_BYTES = 64 * 1024

/** Finds the first message, however it is fragmented. */
export function createFirstMessage(): FirstMessage {
  let waiting: Buffer = Buffer.alloc(0)
  const parts: Frame[] = []
  let size = 0
  return {
    push(chunk) {
      waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk])
      const controls: Frame[] = []
      for (;;) {
        const reading = readFrame(waiting, MOST_BYTES)
        if (reading.kind === 'incomplete') return { kind: 'waiting', controls }
        if (reading.kind === 'large') {
          const message = { ...messageOf(parts, [waiting]), text: undefined }
          return { kind: 'whole', controls, message, rest: Buffer.alloc(0) }
        }
        const { frame, rest } = reading
        waiting = rest
        if (frame.mask === undefined) return { kind: 'broken', code: 1002, reason: 'frames must be masked' }
        if (frame.opcode >= OPCODE.close) {
          controls.push(frame)
          continue
        }
        parts.push(frame)
        // With its head: empty fragments are kept too.
        size += frame.bytes.length
        const isLong = size > MOST_BYTES
        if (!frame.isFinal && !isLong) continue
        const message = { ...messageOf(parts), text: isLong ? undefined : textOf(parts) }
        return { kind: 'whole', controls, message, rest }
      }
    },
  }
}

function messageOf(parts: readonly Frame[], more: readonly Buffer[] = []) {
  return { mask: parts[0]?.mask, bytes: Buffer.concat([...parts.map(({ bytes }) => bytes), ...more]) }
}

/** Of a binary message too: nobody knows how strict the reader is. */
function textOf(parts: readonly Frame[]): string | undefined {
  const payload = Buffer.concat(parts.map(({ payload }) => payload))
  if (((parts[0]?.reserved ?? 0) & 4) === 0) return payload.toString()
  try {
    // RFC 7692 7.2.2: the sender leaves out these four bytes.
    return inflateRawSync(Buffer.concat([payload, Buffer.from([0, 0, 0xff, 0xff])]), {
      finishFlush: constants.Z_SYNC_FLUSH,
      maxOutputLength: MOST_BYTES,
    }).toString()
  } catch {
    return undefined
  }
}

/** What a server says first, besides pings. `bytes`: what came and is not yet passed on; of a close, without its frame. */
type FirstAnswer =
  | { readonly kind: 'waiting'; readonly bytes: Buffer }
  | { readonly kind: 'message'; readonly bytes: Buffer }
  | {
      readonly kind: 'close'
      readonly bytes: Buffer
      readonly frame: Buffer
      readonly code: number
      readonly reason: string
    }

/** No control frame has a longer payload. */
const MOST_CONTROL_BYTES = 125
/** RFC 6455 7.1.5: the code of a close that has none. */
const NO_CODE = 1005

/** Takes bytes of the server, from between two frames on, until its first message or its close. */
export function createFirstAnswer(): { push(chunk: Buffer): FirstAnswer } {
  let waiting: Buffer = Buffer.alloc(0)
  return {
    push(chunk) {
      waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk])
      const controls: Buffer[] = []
      const passed = (...more: readonly Buffer[]) => Buffer.concat([...controls, ...more])
      for (;;) {
        const isMessage = waiting.length > 0 && ((waiting[0] ?? 0) & 0x0f) < OPCODE.close
        const reading = readFrame(waiting, MOST_CONTROL_BYTES)
        if (isMessage || reading.kind === 'large') return { kind: 'message', bytes: passed(waiting) }
        if (reading.kind === 'incomplete') return { kind: 'waiting', bytes: passed() }
        const { frame, rest } = reading
        waiting = rest
        if (frame.opcode === OPCODE.close) return { kind: 'close', bytes: passed(), ...closeOf(frame) }
        controls.push(frame.bytes)
      }
    },
  }
}

function closeOf({ payload, bytes }: Frame) {
  if (payload.length < 2) return { frame: bytes, code: NO_CODE, reason: '' }
  return { frame: bytes, code: payload.readUInt16BE(0), reason: payload.subarray(2).toString() }
}

export interface Boundary {
  /** Takes bytes in order, without keeping them. */
  take(chunk: Buffer): void
  /** Whether the bytes so far end where a frame does: only there another frame may be put in. */
  isBetween(): boolean
}

export function createBoundary(): Boundary {
  let head: Buffer = Buffer.alloc(0)
  /** Bytes of the frame under way that are yet to come. */
  let left = 0
  return {
    take(chunk) {
      let rest = chunk
      while (rest.length > 0) {
        const skipped = Math.min(left, rest.length)
        left -= skipped
        rest = rest.subarray(skipped)
        if (rest.length === 0) return
        head = Buffer.concat([head, rest.subarray(0, 1)])
        rest = rest.subarray(1)
        const whole = lengthOfFrame(head)
        if (whole === undefined) continue
        left = whole - head.length
        head = Buffer.alloc(0)
      }
    },
    isBetween: () => left === 0 && head.length === 0,
  }
}

/** Head and payload; `undefined` while the length is not there yet. */
function lengthOfFrame(head: Buffer): number | undefined {
  if (head.length < 2) return undefined
  const second = head[1] ?? 0
  const short = second & 0x7f
  const size = 2 + (short === 126 ? 2 : short === 127 ? 8 : 0)
  if (head.length < size) return undefined
  return size + ((second & 0x80) === 0 ? 0 : 4) + lengthOf(head, short)
}
