/** Random and broken WebSocket frames of clients: no frame ends the process, and no key but ours goes further. */
import t from 'tap'
import { ask } from '../fixtures/api-under-test.js'
import { REAL_KEY, startProxy } from '../fixtures/proxy-under-test.js'
import { disguises, handshakeText, maskedFrame } from '../proxy/fixtures/frame-disguises.js'
import { auth, startPrefect } from '../proxy/fixtures/prefect-sockets.js'
import { fuzz, mutate, type Random } from './fixtures/fuzz.js'
import { talk } from './fixtures/talk.js'

const FOREIGN = 'pnu_aforeignkeythatmustnotgoon0123456789'
const RESERVED = [0x80, 0x81, 0x82, 0x83, 0x88, 0x89, 0x8a, 0x8f, 0x01, 0x00, 0xc1, 0xf1, 0x09]

function someText(random: Random, token: string): string {
  const deep = '['.repeat(random.below(20_000))
  return random.pick([
    auth(token),
    auth(FOREIGN),
    auth(null),
    `{"type":"auth","token":"${token}","x":${deep}`,
    `{"type":"auth","token":"${token}","x":${deep}${deep.replaceAll('[', ']')}}`,
    `{"type":"auth","token":"${FOREIGN}","token":"${token}"}`,
    '{"type":"filter","filter":{}}',
    '{"__proto__":{"type":"auth"},"token":1}',
    '',
  ])
}

t.test('ends or joins every socket, and passes on no foreign key', async (t) => {
  const { url, heard } = await startPrefect(t, { deflate: true })
  const proxy = await startProxy(t, url, { limits: { firstFrameMs: 150 } })
  const token = await proxy.broker.token('proxy', ['cloud'])
  await fuzz(t, async (random) => {
    heard.length = 0
    const extension = random.once(2) ? 'permessage-deflate' : ''
    const known = random.once(2) ? `Authorization: Bearer ${token}\r\n` : ''
    const head = handshakeText(proxy.tcp.port, `${proxy.base}/events/out`, extension, known)
    const text = someText(random, token)
    const packets = random.once(3)
      ? random.pick(disguises(text.slice(0, 60_000)))[1].slice(0, 30)
      : [maskedFrame(random.pick(RESERVED), Buffer.from(text.slice(0, 60_000)))]
    const frames = packets.map((packet) => (random.once(2) ? mutate(random, packet) : packet))
    if (random.once(3)) frames.unshift(maskedFrame(random.pick(RESERVED), random.bytes(random.below(130))))
    const first = Buffer.from(
      random.once(6) ? mutate(random, Buffer.from(head)).toString('latin1') : head,
      'latin1',
    )
    const said = await talk(proxy.tcp, [first, ...frames], {
      patienceMs: 40,
      isDone: (all) => all.includes('auth_success'),
    })
    if (said.includes(REAL_KEY)) throw new Error('the key got out')
    for (const { messages, authorization } of heard) {
      if (authorization?.includes(token)) throw new Error('the token was passed on')
      for (const message of messages.slice(0, 1)) {
        if (message.includes(FOREIGN))
          throw new Error(`a foreign key was passed on: ${message.slice(0, 100)}`)
      }
    }
  })
  t.equal((await ask(proxy.tcp, '/livez')).status, 200)
})
