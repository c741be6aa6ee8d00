/** Random and broken requests to the proxy and to our own routes: no input ends the process, none gets further than it may. */
import t from 'tap'
import { ask } from '../fixtures/api-under-test.js'
import { bodyOf, OWN, REAL_KEY, startProxy, startUpstream } from '../fixtures/proxy-under-test.js'
import { fuzz, mutate, type Random } from './fixtures/fuzz.js'
import { talk } from './fixtures/talk.js'

const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'TRACE', 'CONNECT', 'PROPFIND', 'get', '']
const PATHS = [
  ...[`/proxy/cloud/api${OWN}/flows/filter`, `/proxy/cloud/api${OWN}/events/in`, `/proxy/cloud/api${OWN}`],
  ...[
    '/proxy/server/api/admin/version',
    '/proxy/cloud/api/me/',
    '/proxy/cloud/api/users/x/api_keys',
    '/proxy/',
  ],
  ...['/v1/status', '/v1/credentials', '/v1/logins', '/v1/events', '/livez', '/metrics', '*', '//x', '/\xff'],
]
const HEADERS = [
  ...[
    'Content-Length: 3',
    'Content-Length: 0',
    'Transfer-Encoding: chunked',
    'Expect: 100-continue',
    'Origin: x',
  ],
  ...['Connection: close', 'Connection: keep-alive, authorization', 'Upgrade: websocket', 'Upgrade: h2c'],
  ...[
    'Sec-WebSocket-Protocol: prefect',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version: 13',
  ],
  ...[
    'Connection: Upgrade',
    'Cookie: a=b',
    'X-Original-URL: /x',
    'Content-Type: application/json',
    'Prefer: wait=1',
  ],
]

t.test('answers or ends every request, and never passes the key or a foreign path on', async (t) => {
  const reached: string[] = []
  const { url } = await startUpstream(t, (request, response) => {
    reached.push(`${request.method} ${request.url} ${request.rawHeaders.join(' ')}`)
    bodyOf(request).then(
      () => response.end('{"ok":true}'),
      () => response.destroy(),
    )
  })
  const proxy = await startProxy(t, url, { limits: { bodyIdleMs: 200, firstFrameMs: 200 } })
  const token = await proxy.broker.token('proxy', ['cloud', 'server'])
  const write = (random: Random): Buffer => {
    const headers = Array.from({ length: random.below(5) }, () => random.pick(HEADERS))
    if (!random.once(4)) headers.push(`Authorization: Bearer ${token}`)
    if (!random.once(8)) headers.unshift(`Host: 127.0.0.1:${proxy.tcp.port}`)
    const line = `${random.pick(METHODS)} ${random.pick(PATHS)} HTTP/1.${random.once(9) ? 0 : 1}`
    return Buffer.from(`${line}\r\n${headers.join('\r\n')}\r\n\r\n${random.once(2) ? 'abc' : ''}`, 'latin1')
  }
  await fuzz(t, async (random) => {
    reached.length = 0
    const bytes = mutate(random, write(random))
    const cut = random.once(4) ? random.below(bytes.length) : bytes.length
    const place = random.pick([proxy.tcp, proxy.tcp, proxy.socket, proxy.restricted])
    const heard = await talk(place, [bytes.subarray(0, cut), bytes.subarray(cut)], {
      patienceMs: 30,
      isDone: (text) => text.includes('\r\n\r\n'),
    })
    if (heard.includes(REAL_KEY) && !bytes.includes('/v1/credentials'))
      throw new Error(`the key got out: ${heard}`)
    if (heard !== '' && !/^HTTP\/1\.1 \d{3} /.test(heard)) throw new Error(`no answer: ${heard.slice(0, 80)}`)
    for (const request of reached) {
      if (request.includes(token)) throw new Error(`the token was passed on: ${request}`)
      if (!/^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) \/api/.test(request))
        throw new Error(`passed on: ${request}`)
      if (/api_keys|bots/.test(request.split(' ')[1] ?? '')) throw new Error(`passed on: ${request}`)
    }
  })
  t.equal((await ask(proxy.tcp, '/livez')).status, 200)
  t.equal((await ask(proxy.socket, `${proxy.base}/flows`)).status, 200)
  t.equal((await ask(proxy.socket, '/v1/status')).status, 200)
})
