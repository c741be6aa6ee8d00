/** The first message: how much of it is kept before the client is known. */
import t from 'tap'
import { closeFrame, createBoundary, createFirstMessage, writeFrame } from '../../src/proxy/frames.js'

const mask = Buffer.from([1, 2, 3, 4])
/** A masked frame with `length` zero bytes. */
const frame = (first: number, length = 0) =>
  Buffer.concat([Buffer.from([first, 0x80 | length]), mask, Buffer.alloc(length)])

t.test('limits a message of empty fragments', async (t) => {
  const first = createFirstMessage()
  first.push(frame(0x01))
  const many = Buffer.concat(Array.from({ length: 1_000 }, () => frame(0x00)))
  for (let pushed = 1; pushed <= 20; pushed += 1) {
    const progress = first.push(many)
    if (progress.kind === 'waiting') continue
    return void t.match(progress, { kind: 'whole', message: { text: undefined } })
  }
  t.fail('it is kept for ever')
})

t.test('keeps an incomplete frame only up to its end', async (t) => {
  const first = createFirstMessage()
  const head = Buffer.from([0x81, 0xfe, 0xff, 0xff, 1, 2, 3, 4])
  t.match(first.push(head), { kind: 'waiting' })
  t.match(first.push(Buffer.alloc(65_000)), { kind: 'waiting' })
  t.match(first.push(Buffer.alloc(65_000)), { kind: 'whole' })
})

t.test('writes frames of every length, and reads them back', async (t) => {
  for (const length of [0, 125, 126, 65_535, 65_536, 100_000]) {
    const bytes = writeFrame(1, Buffer.alloc(length, 'x'), mask)
    const boundary = createBoundary()
    boundary.take(bytes.subarray(0, bytes.length - 1))
    t.equal(boundary.isBetween(), false, `${length} bytes, one missing`)
    boundary.take(bytes.subarray(bytes.length - 1))
    t.equal(boundary.isBetween(), true, `${length} bytes`)
  }
  t.equal(
    closeFrame(1008, 'é'.repeat(300)).length,
    127,
    'no close frame is longer than a control frame may be',
  )
})

t.test('knows the end of a frame however the bytes are cut', async (t) => {
  const frames = [0, 3, 126, 70_000].map((length) => writeFrame(2, Buffer.alloc(length)))
  const bytes = Buffer.concat(frames)
  const ends = new Set(frames.map((_, at) => Buffer.concat(frames.slice(0, at + 1)).length))
  for (const size of [1, 2, 7, 4_096]) {
    const boundary = createBoundary()
    for (let at = 0; at < bytes.length; at += size) {
      boundary.take(bytes.subarray(at, at + size))
      const taken = Math.min(at + size, bytes.length)
      if (boundary.isBetween() !== ends.has(taken)) t.fail(`${taken} bytes in pieces of ${size}`)
    }
    t.equal(boundary.isBetween(), true)
  }
})
