/** Pure: WebSocket frames (RFC 6455), as far as the first message of a connection needs them. */

export interface Frame {
  readonly isFinal: boolean
  /** The three reserved bits; the first marks a compressed message (RFC 7692). */
  readonly reserved: number
  readonly opcode: number
  /** Absent where the frame is not masked. */
  readonly mask?: Buffer
  /** Unmasked. */
  readonly payload: Buffer
  /** As it came. */
  readonly bytes: Buffer
}

export type Reading =
  | { readonly kind: 'frame'; readonly frame: Frame; readonly rest: Buffer }
  | { readonly kind: 'incomplete' }
  /** Its payload is longer than `most`. */
  | { readonly kind: 'large' }

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8 } as const

export function readFrame(bytes: Buffer, most: number): Reading {
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
  const mask = bytes.subarray(maskAt, payloadAt)
  const frame = {
    isFinal: (first & 0x80) !== 0,
    reserved: (first & 0x70) >> 4,
    opcode: first & 0x0f,
    payload: isMasked ? masked(bytes.subarray(payloadAt, end), mask) : bytes.subarray(payloadAt, end),
    bytes: bytes.subarray(0, end),
    ...(isMasked ? { mask } : {}),
  }
  return { kind: 'frame', frame, rest: bytes.subarray(end) }
}

function lengthOf(bytes: Buffer, short: number): number {
  if (short === 126) return bytes.readUInt16BE(2)
  return short === 127 ? Number(bytes.readBigUInt64BE(2)) : short
}

/** One final frame. A client's must be masked. */
export function writeFrame(opcode: number, payload: Buffer, mask?: Buffer): Buffer {
  const bit = mask === undefined ? 0 : 0x80
  const head = [0x80 | opcode]
  if (payload.length < 126) head.push(bit | payload.length)
  else if (payload.length < 65_536) head.push(bit | 126, payload.length >> 8, payload.length & 0xff)
  else throw new RangeError('no frame of ours is that long')
  if (mask === undefined) return Buffer.concat([Buffer.from(head), payload])
  return Buffer.concat([Buffer.from(head), mask, masked(payload, mask)])
}

export function closeFrame(code: number, reason: string): Buffer {
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason))
  payload.writeUInt16BE(code, 0)
  payload.write(reason, 2)
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
