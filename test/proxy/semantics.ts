/** HTTP semantics: 100-continue, trailers, responses without a body, HTTP/1.0. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import { bodyOf, openRaw, startProxy, startUpstream } from '../fixtures/proxy-under-test.js'

async function setStage(t: Test, handle: (request: IncomingMessage, response: ServerResponse) => void) {
  const { url } = await startUpstream(t, handle)
  const proxy = await startProxy(t, url)
  return {
    base: proxy.base,
    open: () => openRaw(t, proxy.socket),
    head: (method: string, path: string) => `${method} ${proxy.base}${path} HTTP/1.1\r\nHost: authd\r\n`,
  }
}

/** Responds with what it received. */
function echo(request: IncomingMessage, response: ServerResponse): void {
  void bodyOf(request).then((body) =>
    response.end(
      JSON.stringify({ raw: request.rawHeaders, trailers: request.rawTrailers, size: body.length }),
    ),
  )
}

t.test('answers Expect: 100-continue itself', async (t) => {
  const { open, head } = await setStage(t, echo)
  for (const size of [2, 200_000]) {
    const raw = open()
    raw.say(`${head('POST', '/x')}Expect: 100-continue\r\nContent-Length: ${size}\r\n\r\n`)
    t.equal(await raw.hear(/\r\n\r\n/), 'HTTP/1.1 100 Continue\r\n\r\n')
    raw.say('x'.repeat(size))
    const answer = await raw.hear(/\}$/)
    t.match(answer, new RegExp(`HTTP/1.1 200 OK[\\s\\S]*"size":${size}`))
    t.notMatch(answer, /"expect"/i)
  }
  const strange = open()
  strange.say(`${head('POST', '/x')}Expect: miracles\r\nContent-Length: 2\r\n\r\n{}`)
  t.match(await strange.hear(/\r\n\r\n/), /^HTTP\/1\.1 417/)
})

t.test('drops the trailers of a request and sends its length', async (t) => {
  const { open, head } = await setStage(t, echo)
  const raw = open()
  raw.say(
    `${head('POST', '/x')}Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n` +
      '2\r\n{}\r\n0\r\nAuthorization: Bearer pnu_other\r\nX-Sum: 1\r\n\r\n',
  )
  const answer = await raw.hear(/\}$/)
  t.match(answer, /"content-length","2"[\s\S]*"trailers":\[\],"size":2/)
  t.notMatch(answer, /pnu_other|"trailer"/i)
})

t.test('keeps headers and connection of responses without a body', async (t) => {
  const answers: Readonly<Record<string, readonly [status: number, headers: Record<string, string>]>> = {
    '/204': [204, { etag: '"x"' }],
    '/304': [304, { etag: '"x"' }],
    '/205': [205, { 'content-length': '0' }],
    '/long': [200, { 'content-length': '12345', etag: '"x"' }],
    '/chunks': [200, { etag: '"x"' }],
    '/empty': [200, { 'content-length': '0' }],
  }
  const { open, head, base } = await setStage(t, (request, response) => {
    const [status, headers] = answers[request.url?.slice(request.url.lastIndexOf('/')) ?? ''] ?? [500, {}]
    response.writeHead(status, headers).end()
  })
  for (const [path, [status, headers]] of Object.entries(answers)) {
    for (const method of path === '/long' ? ['HEAD'] : ['HEAD', 'GET']) {
      const raw = open()
      raw.say(`${head(method, path)}\r\n`)
      const first = await raw.hear(/\r\n\r\n/)
      t.match(first, new RegExp(`^HTTP/1.1 ${status} `), `${method} ${path}`)
      for (const [name, value] of Object.entries(headers)) t.match(first, `${name}: ${value}\r\n`)
      raw.say(`GET ${base}/204 HTTP/1.1\r\nHost: authd\r\nConnection: close\r\n\r\n`)
      const rest = (await raw.closed()).slice(first.length)
      t.match(rest, /^(?:0\r\n\r\n)?HTTP\/1\.1 204 /, 'the next answer begins where it must')
    }
  }
})

t.test('answers HTTP/1.0 without chunks', async (t) => {
  const { open, base } = await setStage(t, (_request, response) => {
    response.write('one ')
    response.end('two')
  })
  const raw = open()
  raw.say(`GET ${base}/x HTTP/1.0\r\nHost: authd\r\n\r\n`)
  const answer = await raw.closed()
  t.match(answer, /\r\n\r\none two$/)
  t.notMatch(answer, /transfer-encoding/i)
})

t.test('passes on a 304 that states the length of what it leaves out', async (t) => {
  const { url } = await startUpstream(t, (_request, response) => {
    response.writeHead(304, { etag: '"x"', 'content-length': '10' }).end()
  })
  const proxy = await startProxy(t, url)
  const raw = openRaw(t, proxy.socket)
  raw.say(`GET ${proxy.base}/x HTTP/1.1\r\nHost: authd\r\n\r\n`)
  raw.say(`GET ${proxy.base}/y HTTP/1.1\r\nHost: authd\r\nConnection: close\r\n\r\n`)
  const heard = await raw.closed()
  t.match(heard, /^HTTP\/1\.1 304 Not Modified\r\n[\s\S]*etag: "x"/i)
  t.equal(heard.split('304 Not Modified').length - 1, 2, 'and the next request finds its answer')
})
