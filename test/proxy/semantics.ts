/** HTTP semantics: 100-continue, trailers, responses without a body, HTTP/1.0. */
import { once } from 'node:events'
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

/** Every byte there is, in no order that repeats soon. */
function bytesOf(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, at) => (at * 167 + (at >> 8)) % 256))
}

t.test('passes a body on byte for byte, whatever its length, and however it comes', async (t) => {
  const { open, head } = await setStage(t, (request, response) => {
    void bodyOf(request).then((body) => {
      response.writeHead(200, { 'content-length': body.length }).end(body)
    })
  })
  const KIB = 1024
  const around = (size: number) => [size - 1, size, size + 1]
  const sizes = [1, 256, ...around(8 * KIB), ...around(64 * KIB), 300_000]
  for (const size of sizes) {
    const body = bytesOf(size)
    const first = Buffer.from(`${head('POST', '/x')}Connection: close\r\nContent-Length: ${size}\r\n\r\n`)
    const ways = {
      'with its head': [Buffer.concat([first, body])],
      'after its head': [first, body],
      'half with its head': [Buffer.concat([first, body.subarray(0, size >> 1)]), body.subarray(size >> 1)],
    }
    for (const [way, pieces] of Object.entries(ways)) {
      const raw = open()
      for (const piece of pieces) {
        raw.say(piece)
        // So that each is read for itself.
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      const answer = await raw.closed()
      const text = answer.slice(answer.indexOf('\r\n\r\n') + 4)
      t.ok(Buffer.from(text, 'latin1').equals(body), `${size} bytes, ${way}`)
    }
  }
})

t.test('a client that reads slowly gets all of a large answer, and holds the upstream up', async (t) => {
  const size = 32 * 1024 * 1024
  let written = 0
  const piece = bytesOf(64 * 1024)
  const { open, head } = await setStage(t, (_request, response) => {
    response.writeHead(200, { 'content-length': size })
    const more = () => {
      while (written < size) {
        written += piece.length
        if (!response.write(piece)) return void response.once('drain', more)
      }
      response.end()
    }
    more()
  })
  const raw = open()
  raw.say(`${head('GET', '/x')}Connection: close\r\n\r\n`)
  await raw.hear(/\r\n\r\n/)
  raw.socket.pause()
  for (let before = -1; before < written; ) {
    before = written
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  t.ok(written < size, `${written} bytes were taken from the upstream`)
  raw.socket.resume()
  const answer = await raw.closed()
  t.equal(answer.length - answer.indexOf('\r\n\r\n') - 4, size)
})

t.test('a request that fails while the daemon stops is told why', async (t) => {
  const { url, server } = await startUpstream(t, () => undefined)
  const asked = once(server, 'request')
  const proxy = await startProxy(t, url)
  const raw = openRaw(t, proxy.socket)
  raw.say(`POST ${proxy.base}/x HTTP/1.1\r\nHost: authd\r\nContent-Length: 2\r\n\r\n{}`)
  const [request] = await asked
  const closing = proxy.app.close(5_000)
  request.socket.resetAndDestroy()
  t.match(await raw.closed(), /^HTTP\/1\.1 502 [\s\S]*"code":"prefect_failed"/)
  await closing
})
