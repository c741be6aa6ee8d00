/** WebSocket frames: reads them, and finds a client's first message and puts another in its place. */
import { constants, inflateRawSync } from 'node:zlib'

interface Frame {
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

const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8 } as const

/** The first frame of `bytes`, with a payload of at most `most` bytes. */
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
function writeFrame(opcode: number, payload: Buffer, mask?: Buffer): Buffer {
  const bit = mask === undefined ? 0 : 0x80
  const head = [0x80 | opcode]
  if (payload.length < 126) head.push(bit | payload.length)
  else if (payload.length < 65_536) head.push(bit | 126, payload.length >> 8, payload.length & 0xff)
  else throw new RangeError('frame too long')
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

/** What to do with the first message. */
export type Verdict =
  | { readonly kind: 'pass' }
  | { readonly kind: 'replace'; readonly text: string }
  | { readonly kind: 'refuse'; readonly code: number; readonly reason: string }

type Progress =
  | { readonly kind: 'waiting'; readonly forward: Buffer }
  | { readonly kind: 'done'; readonly forward: Buffer }
  | { readonly kind: 'refused'; readonly code: number; readonly reason: string }

export interface FirstMessage {
  /** Takes bytes of the client; returns what to forward to the upstream. Not to be called once it is done or refused. */
  push(chunk: Buffer): Progress
}

/** No auth message is longer. */
const MOST_BYTES = 64 * 1024

/**
 * Finds the first message, however it is fragmented. `judge` is called once, with its text, or `undefined` if it is not
 * text or too long. Pings before it are forwarded at once: Prefect's clients wait for the pong before they authenticate.
 */
export function createFirstMessage(judge: (text: string | undefined) => Verdict): FirstMessage {
  let waiting: Buffer = Buffer.alloc(0)
  const parts: Frame[] = []
  let size = 0
  return {
    push(chunk) {
      waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk])
      const forward: Buffer[] = []
      for (;;) {
        const reading = readFrame(waiting, MOST_BYTES)
        if (reading.kind === 'incomplete') return { kind: 'waiting', forward: Buffer.concat(forward) }
        if (reading.kind === 'large') return settle(judge(undefined), forward, parts, waiting)
        const { frame, rest } = reading
        waiting = rest
        if (frame.mask === undefined) return { kind: 'refused', code: 1002, reason: 'frames must be masked' }
        if (frame.opcode >= OPCODE.close) {
          forward.push(frame.bytes)
          continue
        }
        parts.push(frame)
        // With its head: empty fragments are kept too.
        size += frame.bytes.length
        const isLong = size > MOST_BYTES
        if (!frame.isFinal && !isLong) continue
        return settle(judge(isLong ? undefined : textOf(parts)), forward, parts, rest)
      }
    },
  }
}

function settle(
  verdict: Verdict,
  forward: readonly Buffer[],
  parts: readonly Frame[],
  rest: Buffer,
): Progress {
  switch (verdict.kind) {
    case 'refuse':
      return { kind: 'refused', code: verdict.code, reason: verdict.reason }
    case 'pass':
      return { kind: 'done', forward: Buffer.concat([...forward, ...parts.map(({ bytes }) => bytes), rest]) }
    case 'replace': {
      // The client's own mask: nobody else could predict it.
      const frame = writeFrame(OPCODE.text, Buffer.from(verdict.text), parts[0]?.mask)
      return { kind: 'done', forward: Buffer.concat([...forward, frame, rest]) }
    }
  }
}

function textOf(parts: readonly Frame[]): string | undefined {
  const [first] = parts
  if (first?.opcode !== OPCODE.text) return undefined
  const payload = Buffer.concat(parts.map(({ payload }) => payload))
  if ((first.reserved & 4) === 0) return payload.toString()
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
