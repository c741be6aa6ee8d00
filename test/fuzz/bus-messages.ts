/** Random and broken messages of a session bus: what cannot be read is a RangeError or the end of the connection. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createAskDesktop } from '../../src/asks/desktop.js'
import { decodeMessage, encodeCall, MAX_MESSAGE_BYTES, messageLength } from '../../src/os/bus-message.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { fuzz, mutate, type Random } from './fixtures/fuzz.js'

const NAME = 'org.freedesktop.Notifications'
const TYPES = [...'ybnqiuxtdsogvah(){}'].concat('a{sv}', 'a(yv)', 'aas', '()', 'a()', '((((', 'vvvv', '')

function someCall(random: Random): Buffer {
  const body = random.pick([
    [],
    [['s', 'yes'] as const],
    [['u', random.below(2 ** 32)] as const, ['s', 'yes'] as const],
    [['as', ['body', 'actions']] as const, ['a{sv}', { urgency: 2 }] as const],
  ])
  const text = random.pick(['a', '/x', NAME, 'é'.repeat(random.below(50))])
  return encodeCall(
    { destination: text, path: '/x', interface: NAME, member: text, body },
    random.below(2 ** 32),
  )
}

/** An answer or a signal whose first argument is a string of types that the rest may not keep to. */
function someReply(random: Random, serial: number): Buffer {
  const signature = Array.from({ length: random.below(8) }, () => random.pick(TYPES)).join('')
  const plain = random.pick(['u', 's', 'us', 'as', signature])
  const body = random.once(3)
    ? random.bytes(random.below(200))
    : Buffer.from('\x01\0\0\0\x04\0\0\0yes!\0\0\0\0')
  const types = Buffer.from(plain, 'latin1')
  const fields = Buffer.concat([
    Buffer.from([5, 1, 0x75, 0, serial & 255, serial >> 8, 0, 0]),
    Buffer.from([8, 1, 0x67, 0, types.length]),
    types,
    Buffer.from([0]),
  ])
  const head = Buffer.alloc(16)
  head.set([0x6c, random.pick([1, 2, 2, 2, 3, 4]), 0, 1])
  head.writeUInt32LE(random.once(9) ? random.below(2 ** 32) : body.length, 4)
  head.writeUInt32LE(random.once(9) ? random.below(2 ** 32) : fields.length, 12)
  return Buffer.concat([head, fields, Buffer.alloc((8 - (fields.length % 8)) % 8), body])
}

t.test('reads any bytes, or throws a RangeError', (t) =>
  fuzz(t, async (random) => {
    const source = random.pick([someCall(random), someReply(random, 1), random.bytes(random.below(100))])
    const bytes = mutate(random, source)
    if (random.once(4)) bytes[0] = random.pick([0x6c, 0x42])
    try {
      const length = messageLength(bytes)
      if (length !== undefined && (length < 16 || length > MAX_MESSAGE_BYTES))
        throw new Error(`length ${length}`)
      decodeMessage(bytes)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
    }
  }),
)

t.test('a hostile bus ends its own connection, and presses no button', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'pab-bus-'))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  let serve: (socket: Socket) => void = () => undefined
  const server = createServer((socket) => serve(socket.on('error', () => undefined)))
  await new Promise<void>((resolve) => server.listen(join(root, 'bus'), resolve))
  t.after(() => void server.close())
  const ask = createAskDesktop({
    ...{ findBus: () => `unix:path=${join(root, 'bus')}`, uid: 1, clock: systemClock(), log: silentLog() },
    look: async () => ({ seenAt: 1, chain: [], shown: '' }),
    isTrusted: { bus: () => true, service: () => true },
  })
  await fuzz(t, async (random) => {
    serve = (socket) => {
      let serial = 0
      socket.once('data', () => {
        socket.write(random.once(9) ? mutate(random, Buffer.from('OK 12\r\n')) : 'OK 12\r\n')
        socket.on('data', () => {
          serial += 1
          const reply = someReply(random, serial)
          socket.write(random.once(2) ? mutate(random, reply) : reply)
          if (serial > 6 || random.once(4)) socket.end()
          // Whatever waits for an answer that never comes would wait for its deadline.
          else setTimeout(() => socket.destroy(), 20)
        })
      })
      setTimeout(() => socket.destroy(), 100)
    }
    const answer = await ask({ id: 1, sentence: 'start', token: 'agent' }, new AbortController().signal)
    if (answer === 'yes') throw new Error('a press within 20 ms counted')
  })
})
