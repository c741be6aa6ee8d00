/** Random and broken frames of upstreams, before and after the client's first message: none ends the process. */
import t from 'tap'
import { ask } from '../fixtures/api-under-test.js'
import { REAL_KEY, startProxy } from '../fixtures/proxy-under-test.js'
import { handshakeText, maskedFrame } from '../proxy/fixtures/frame-disguises.js'
import { auth } from '../proxy/fixtures/prefect-sockets.js'
import { createRandom, fuzz, mutate } from './fixtures/fuzz.js'
import { startFuzzedUpstream, talk } from './fixtures/talk.js'

const ACCEPTED =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Protocol: prefect\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n'
const FRAMES = [
  ...[
    '\x81\x02hi',
    '\x01\x02hi\x80\x00',
    '\x88\x02\x03\xf0',
    '\x89\x00',
    '\x8a\x7d',
    '\x81\x7e\xff\xff',
    '\x82\x7f',
  ],
  ...[
    '\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff',
    '\x81\x80\x00\x00\x00\x00',
    '\xf1\x01x',
    '\x81\x7f\x00\x00\x00\x00',
  ],
]

t.test('relays or ends, whatever the upstream sends', async (t) => {
  let random = createRandom(0)
  const url = await startFuzzedUpstream(t, (socket, heard) => {
    const some = Array.from({ length: random.below(4) }, () => random.pick(FRAMES)).join('')
    const frames = mutate(random, Buffer.from(some, 'latin1'))
    if (!heard.subarray(0, 4).equals(Buffer.from('GET '))) return void socket.write(frames)
    const extension = random.once(5) ? 'Sec-WebSocket-Extensions: permessage-deflate\r\n' : ''
    socket.write(
      Buffer.concat([Buffer.from(`${ACCEPTED}${extension}\r\n`), random.once(2) ? frames : Buffer.alloc(0)]),
    )
    if (random.once(4)) socket.end()
    if (random.once(8)) socket.resetAndDestroy()
  })
  const proxy = await startProxy(t, url, { limits: { answerMs: 300, firstFrameMs: 200 } })
  const token = await proxy.broker.token('proxy', ['cloud'])
  await fuzz(t, async (now) => {
    random = now
    const known = random.once(2) ? `Authorization: Bearer ${token}\r\n` : ''
    const head = handshakeText(proxy.tcp.port, `${proxy.base}/events/out`, '', known)
    const wrong = random.once(3)
    const first = maskedFrame(0x81, Buffer.from(auth(wrong ? 'pnu_x' : token)))
    const heard = await talk(
      proxy.tcp,
      [Buffer.from(head), first, maskedFrame(0x81, random.bytes(random.below(100)))],
      {
        patienceMs: 20,
      },
    )
    if (heard.includes(REAL_KEY)) throw new Error('the key got out')
    if (heard !== '' && !/^HTTP\/1\.1 (?:101|401|403|502|503) /.test(heard)) {
      throw new Error(`no answer of ours: ${heard.slice(0, 60)}`)
    }
  })
  t.equal((await ask(proxy.tcp, '/livez')).status, 200)
})
