/**
 * Finds the first message that a WebSocket client sends, however it is cut up, and puts another in its place. Pings before
 * it pass at once: Prefect's clients wait for the pong before they say who they are.
 */
import { constants, inflateRawSync } from 'node:zlib'
import { type Frame, OPCODE, readFrame, writeFrame } from './frames-part.js'

/** What is to become of the first message. */
export type Verdict =
  | { readonly kind: 'pass' }
  | { readonly kind: 'replace'; readonly text: string }
  | { readonly kind: 'refuse'; readonly code: number; readonly reason: string }

export type Progress =
  | { readonly kind: 'waiting'; readonly forward: Buffer }
  | { readonly kind: 'done'; readonly forward: Buffer }
  | { readonly kind: 'refused'; readonly code: number; readonly reason: string }

export interface FirstMessage {
  /** Bytes of the client; the answer says what may go on to the upstream. Not to be called after the end. */
  push(chunk: Buffer): Progress
}

/** No auth message is longer. */
const MOST_BYTES = 64 * 1024

/** `judge` is asked once, with the text, or `undefined` for a message that is no text or too long to be one. */
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
        // All of its bytes: fragments with nothing in them are kept, too.
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
      // The client's own mask: nobody but it could foresee it.
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
    // RFC 7692 7.2.2: the sender leaves these four bytes away.
    return inflateRawSync(Buffer.concat([payload, Buffer.from([0, 0, 0xff, 0xff])]), {
      finishFlush: constants.Z_SYNC_FLUSH,
      maxOutputLength: MOST_BYTES,
    }).toString()
  } catch {
    return undefined
  }
}
