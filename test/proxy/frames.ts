/** The first message: how much of it is kept before the client is known. */
import t from 'tap'
import { createFirstMessage, type Verdict } from '../../src/proxy/frames.js'

const mask = Buffer.from([1, 2, 3, 4])
/** A masked frame with `length` zero bytes. */
const frame = (first: number, length = 0) =>
  Buffer.concat([Buffer.from([first, 0x80 | length]), mask, Buffer.alloc(length)])
const refuse = (): Verdict => ({ kind: 'refuse', code: 1008, reason: 'no' })

t.test('limits a message of empty fragments', async (t) => {
  let asked = 0
  const first = createFirstMessage((text) => {
    asked += 1
    t.equal(text, undefined)
    return refuse()
  })
  first.push(frame(0x01))
  const many = Buffer.concat(Array.from({ length: 1_000 }, () => frame(0x00)))
  let pushed = 0
  for (; asked === 0 && pushed < 200; pushed += 1) first.push(many)
  t.ok(pushed <= 20, `it was kept for ${pushed} thousand fragments`)
})

t.test('keeps an incomplete frame only up to its end', async (t) => {
  const first = createFirstMessage(refuse)
  const head = Buffer.from([0x81, 0xfe, 0xff, 0xff, 1, 2, 3, 4])
  t.match(first.push(head), { kind: 'waiting' })
  t.match(first.push(Buffer.alloc(65_000)), { kind: 'waiting' })
  t.match(first.push(Buffer.alloc(65_000)), { kind: 'refused' })
})
