/** Random and broken answers of upstreams, to requests and to handshakes: no answer ends the process. */
import t from 'tap'
import { ask } from '../fixtures/api-under-test.js'
import { REAL_KEY, startProxy } from '../fixtures/proxy-under-test.js'
import { handshakeText } from '../proxy/fixtures/frame-disguises.js'
import { createRandom, fuzz, mutate, type Random } from './fixtures/fuzz.js'
import { startFuzzedUpstream, talk } from './fixtures/talk.js'

const STATUSES = [
  '200',
  '204',
  '304',
  '401',
  '404',
  '500',
  '101',
  '103',
  '102',
  '100',
  '999',
  '000',
  '600',
  '20',
  'x',
]
const REASONS = ['OK', '', 'Não', 'O\x01K', '\x7f', '\xff\xfe', 'x'.repeat(5_000)]
const HEADERS = [
  ...[
    'Content-Length: 2',
    'Content-Length: 9007199254740993',
    'Content-Length: 0',
    'Transfer-Encoding: chunked',
  ],
  ...[
    'Connection: close',
    'Connection: Upgrade, set-cookie',
    'Upgrade: websocket',
    'Link: notalink',
    'Link: <a>; rel=x',
  ],
  ...[
    'Location: http://[',
    'Location: /api/x',
    'Location: //x',
    'Set-Cookie: a=b',
    'Trailer: x',
    'Date: x',
    'X: \x80\x81',
  ],
  ...[
    'Content-Encoding: gzip',
    'Content-Type: application/json',
    'Sec-WebSocket-Accept: x',
    'Sec-WebSocket-Protocol: y',
  ],
]
const BODIES = [
  'hi',
  '',
  '2\r\nhi\r\n0\r\n\r\n',
  '2\r\nhi\r\n0\r\nX: y\r\n\r\n',
  '{"detail":"x"}',
  '\x81\x02hi',
  '\x88\x02\x03\xf0',
]

function someAnswer(random: Random): Buffer {
  const some = Array.from({ length: random.below(5) }, () => random.pick(HEADERS))
  const text = `HTTP/1.1 ${random.pick(STATUSES)} ${random.pick(REASONS)}\r\n${some.map((line) => `${line}\r\n`).join('')}\r\n`
  return mutate(random, Buffer.from(`${random.once(6) ? text : ''}${text}${random.pick(BODIES)}`, 'latin1'))
}

t.test('answers or ends the client, whatever the upstream says', async (t) => {
  let random = createRandom(0)
  const url = await startFuzzedUpstream(t, (socket) => {
    const bytes = someAnswer(random)
    const cut = random.below(bytes.length + 1)
    socket.write(bytes.subarray(0, cut))
    const rest = bytes.subarray(cut)
    if (random.once(3)) socket.end(rest)
    else if (random.once(6)) socket.destroy()
    else socket.write(rest)
  })
  const proxy = await startProxy(t, url, { limits: { answerMs: 300 } })
  const token = await proxy.broker.token('proxy', ['cloud'])
  const known = `Authorization: Bearer ${token}\r\n`
  await fuzz(t, async (now) => {
    random = now
    const request = `GET ${proxy.base}/flows HTTP/1.1\r\nHost: 127.0.0.1:${proxy.tcp.port}\r\n${known}\r\n`
    const handshake = handshakeText(proxy.tcp.port, `${proxy.base}/events/in`, '', known)
    const text = random.once(3) ? handshake : request
    const heard = await talk(proxy.tcp, [Buffer.from(text)], {
      patienceMs: 40,
      isDone: (all) => /\r\n\r\n(?:hi|\{|0\r\n)/.test(all),
    })
    if (heard.includes(REAL_KEY)) throw new Error('the key got out')
    if (heard !== '' && !/^HTTP\/1\.1 \d{3} [\x20-\x7e]*\r\n/.test(heard)) {
      throw new Error(`not an answer of ours: ${heard.slice(0, 80)}`)
    }
    const phrase = /^HTTP\/1\.1 \d{3} ([^\r]*)/.exec(heard)?.[1] ?? ''
    if (phrase.length > 40) throw new Error(`the reason was passed on: ${phrase.slice(0, 60)}`)
  })
  t.equal((await ask(proxy.tcp, '/livez')).status, 200)
})
