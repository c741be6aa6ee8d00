/** Lines of a file from its end to its start, a piece at a time: memory is bounded, and others get their turn. */

import type { FileHandle } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { usePlainFile } from './private-files.js'

/** What is read at once. */
const PIECE_BYTES = 64 * 1024
/** What is looked at in one turn. */
const LINES_AT_ONCE = 64
/** Longer lines are none of ours, and left out. */
const MAX_LINE_BYTES = 256 * 1024
const NEWLINE = 0x0a

/**
 * Passes every line that is not empty to `take`, newest first, until that returns false, and returns whether it never did.
 * A missing file holds no lines. Rejects as `usePlainFile` does. The bytes are the line's only until `take` returns.
 */
export async function readLinesBackwards(path: string, take: (line: Buffer) => boolean): Promise<boolean> {
  const isWhole = await usePlainFile(path, async (file, { size }) => {
    const lines = createLineCutter(take)
    for (let end = size; end > 0; end -= PIECE_BYTES) {
      const start = Math.max(0, end - PIECE_BYTES)
      if (!(await lines.add(await readPiece(file, start, end)))) return false
    }
    return lines.end()
  })
  return isWhole ?? true
}

/** A file that shrinks meanwhile has a shorter piece. */
async function readPiece(file: FileHandle, start: number, end: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(end - start), 0, end - start, start)
  return buffer.subarray(0, bytesRead)
}

/** Cuts pieces that come last one first into lines; returns false once `take` has. */
function createLineCutter(take: (line: Buffer) => boolean) {
  /** The end of a line whose start is in a piece before. */
  let rest: Buffer = Buffer.alloc(0)
  let isTooLong = false
  let given = 0

  const give = (line: Buffer): boolean => {
    const isLeftOut = isTooLong || line.length === 0
    isTooLong = false
    return isLeftOut || take(line)
  }
  return {
    async add(piece: Buffer): Promise<boolean> {
      const bytes = rest.length === 0 ? piece : Buffer.concat([piece, rest])
      let end = bytes.length
      for (let at = lastNewline(bytes, end); at >= 0; at = lastNewline(bytes, end)) {
        if (!give(bytes.subarray(at + 1, end))) return false
        end = at
        given += 1
        if (given % LINES_AT_ONCE === 0) await setImmediate()
      }
      isTooLong ||= end > MAX_LINE_BYTES
      rest = isTooLong ? Buffer.alloc(0) : bytes.subarray(0, end)
      return true
    },
    end: () => give(rest),
  }
}

/** Its place before `end`, or -1. */
function lastNewline(bytes: Buffer, end: number): number {
  return end === 0 ? -1 : bytes.lastIndexOf(NEWLINE, end - 1)
}
