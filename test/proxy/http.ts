/** Requests through the proxy: what arrives at Prefect, and what comes back. */

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { Agent, type Dispatcher } from 'undici'
import { ask, json, type Place } from '../fixtures/api-under-test.js'
import {
  ACCOUNT,
  bodyOf,
  OTHER,
  OWN,
  openRaw,
  REAL_KEY,
  startProxy,
  startUpstream,
} from '../fixtures/proxy-under-test.js'

/** Describes what arrived. */
async function echo(request: IncomingMessage) {
  const body = await bodyOf(request)
  return JSON.stringify({
    method: request.method,
    url: request.url,
    raw: request.rawHeaders,
    headers: request.headers,
    length: body.length,
    sha: createHash('sha256').update(body).digest('hex'),
    text: body.length < 200 ? body.toString('latin1') : '',
  })
}

async function startEcho(t: Parameters<typeof startUpstream>[0]) {
  return startUpstream(t, (request, response) => {
    void echo(request).then((text) => response.end(text))
  })
}

function headerOf(answer: Record<string, unknown>, name: string): unknown {
  const { headers } = answer
  return typeof headers === 'object' && headers !== null ? Reflect.get(headers, name) : undefined
}

t.test('replaces our token by the key, on every listener and in every form', async (t) => {
  const { url } = await startEcho(t)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const basic = Buffer.from(`prefect-auth:${token}`).toString('base64')
  const forms = [`Bearer ${token}`, `bearer ${token}`, `BEARER  ${token}`, `Basic ${basic}`, `basic ${basic}`]
  for (const place of [proxy.socket, proxy.restricted, proxy.tcp]) {
    for (const authorization of forms) {
      const answer = json(await ask(place, `${proxy.base}/flows/?a=b%20c`, { headers: { authorization } }))
      t.equal(answer.url, `/api${OWN}/flows/?a=b%20c`)
      t.equal(headerOf(answer, 'authorization'), `Bearer ${REAL_KEY}`, authorization.slice(0, 12))
      t.equal(headerOf(answer, 'host'), url.slice(7), 'the upstream’s own name')
    }
  }
  const owner = json(await ask(proxy.socket, `${proxy.base}/flows/`))
  t.equal(headerOf(owner, 'authorization'), `Bearer ${REAL_KEY}`, 'the owner needs none')
})

t.test('sends a server profile its auth string, or nothing if it has none', async (t) => {
  const { url } = await startEcho(t)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['server'])
  const authorization = `Basic ${Buffer.from(`prefect-auth:${token}`).toString('base64')}`
  const answer = json(await ask(proxy.tcp, '/proxy/server/api/flows/filter', { headers: { authorization } }))
  t.equal(answer.url, '/api/flows/filter')
  t.equal(headerOf(answer, 'authorization'), `Basic ${Buffer.from('admin:real').toString('base64')}`)
  proxy.broker.refuse(
    'empty',
    new (await import('../../src/base/errors.js')).BrokerError('login_required', 'no'),
  )
  t.equal((await ask(proxy.socket, '/proxy/empty/api/flows')).status, 503)
})

t.test('forwards nothing without an active token for the profile', async (t) => {
  let reached = 0
  const { url } = await startUpstream(t, (_request, response) => {
    reached += 1
    response.end('{}')
  })
  const proxy = await startProxy(t, url)
  const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`
  const good = await proxy.broker.token('proxy', ['cloud'])
  const refused: readonly (readonly [name: string, authorization: string | string[], status: number])[] = [
    ['a key of Prefect', 'Bearer pnu_0123456789abcdef0123456789abcdef0123', 401],
    ['the real key itself', `Bearer ${REAL_KEY}`, 401],
    ['an expired token', `Bearer ${await proxy.broker.token('proxy', ['cloud'], -1)}`, 401],
    ['an invented token', `Bearer pab_${'x'.repeat(43)}`, 401],
    ['another user name', basic(`admin:${good}`), 401],
    ['basic without a token', basic('prefect-auth:'), 401],
    ['no scheme', good, 401],
    ['nothing', '', 401],
    ['two of them', [`Bearer ${good}`, `Bearer ${good}`], 400],
    ['a token for another profile', `Bearer ${await proxy.broker.token('proxy', ['server'])}`, 403],
    ['a token that may only look', `Bearer ${await proxy.broker.token('inspect')}`, 403],
  ]
  for (const place of [proxy.socket, proxy.restricted, proxy.tcp]) {
    for (const [name, authorization, status] of refused) {
      const answer = await ask(place, `${proxy.base}/flows/`, { headers: { authorization } })
      t.equal(answer.status, status, name)
      t.type(json(answer).detail, 'string', 'in the shape that Prefect’s clients read')
    }
  }
  for (const place of [proxy.restricted, proxy.tcp]) {
    t.equal((await ask(place, `${proxy.base}/flows/`)).status, 401, 'no token')
  }
  t.equal(
    (await ask(proxy.tcp, `${proxy.base}/flows/`, { token: good, headers: { origin: 'null' } })).status,
    403,
  )
  t.equal((await ask(proxy.tcp, `${proxy.base}/x`, { token: good, headers: { host: 'evil' } })).status, 421)
  t.equal(reached, 0)
  t.ok(proxy.broker.audit.some(({ action, code }) => action === 'refused' && code === 'token_invalid'))
})

t.test('opens none of our own routes to a proxy token', async (t) => {
  const { url } = await startEcho(t)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const routes = proxy.app.routes.filter(({ needs }) => needs !== 'none')
  for (const { method, url: route } of routes) {
    const path = route.replace(/:\w+/g, 'cloud')
    const { status, text } = await ask(proxy.tcp, path, { method, token })
    if (status !== 403 || text.includes(REAL_KEY)) t.fail(`${method} ${path}: ${status}`)
  }
  t.ok(routes.length > 25)
})

t.test('forwards bodies unchanged, always with their length', async (t) => {
  const { url } = await startEcho(t)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  for (const size of [0, 1, 65_536, 65_537, 6 * 1024 * 1024]) {
    for (const isChunked of [false, true]) {
      if (isChunked && size > 5 * 1024 * 1024) continue
      const body = randomBytes(size)
      const answer = await send(proxy.tcp, `${proxy.base}/logs/`, token, body, isChunked)
      const heard = json(answer)
      t.equal(
        heard.sha,
        createHash('sha256').update(body).digest('hex'),
        `${size} bytes, chunked ${isChunked}`,
      )
      t.equal(headerOf(heard, 'content-length'), String(size))
      t.notOk(headerOf(heard, 'transfer-encoding'))
      t.notOk(headerOf(heard, 'content-type'), 'none was sent, none was added')
    }
  }
  const large = await send(proxy.tcp, `${proxy.base}/logs/`, token, Buffer.alloc(5 * 1024 * 1024 + 1), true)
  t.equal(large.status, 413, 'without a length there is a limit')
})

function send(place: Place, path: string, token: string, body: Buffer, isChunked: boolean) {
  return new Promise<{ status: number; headers: Record<string, never>; text: string }>((resolve, reject) => {
    const outgoing = httpRequest({
      ...place,
      path,
      method: 'POST',
      agent: false,
      headers: {
        host: 'port' in place ? `127.0.0.1:${place.port}` : 'authd',
        authorization: `Bearer ${token}`,
        ...(isChunked ? { 'transfer-encoding': 'chunked' } : { 'content-length': String(body.length) }),
      },
    })
    outgoing.on('response', (incoming) => {
      bodyOf(incoming).then(
        (bytes) => resolve({ status: incoming.statusCode ?? 0, headers: {}, text: bytes.toString() }),
        reject,
      )
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

t.test('forwards any method and any content type', async (t) => {
  const { url } = await startEcho(t)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
    for (const type of ['text/plain', 'application/x-protobuf', 'nonsense', undefined]) {
      const answer = await ask(proxy.tcp, `${proxy.base}/x`, {
        method,
        token,
        body: '{"a":1',
        headers: { ...(type === undefined ? {} : { 'content-type': type }), 'content-length': '6' },
      })
      t.match(json(answer), { method, text: '{"a":1' }, `${method} ${type}`)
    }
  }
})

t.test('returns responses unchanged but for reason phrases and cookies', async (t) => {
  const zipped = gzipSync(Buffer.from('{"hello":"world"}'))
  const { url } = await startUpstream(t, (request, response) => {
    const answers: Record<string, () => void> = {
      '/gzip': () => response.writeHead(200, { 'content-encoding': 'gzip', etag: '"x"' }).end(zipped),
      '/cookies': () => response.writeHead(200, { 'set-cookie': ['a=1', 'b=2'] }).end(),
      '/204': () => response.writeHead(204).end(),
      '/304': () => response.writeHead(304, { etag: '"x"' }).end(),
      '/404': () => response.writeHead(404, 'Nichts da').end('{"detail":"Not Found"}'),
      '/409': () => response.writeHead(409, { 'retry-after': 'Fri, 20 Nov 2026 19:00:00 GMT' }).end('{}'),
      '/500': () => response.writeHead(500).end('{"exception_message":"x"}'),
      '/hints': () => {
        response.writeEarlyHints({ link: '</style.css>; rel=preload' })
        response.end('after')
      },
      '/trailers': () => {
        response.writeHead(200, { trailer: 'x-sum' })
        response.write('body')
        response.addTrailers({ 'x-sum': '42' })
        response.end()
      },
    }
    answers[request.url?.slice(`/api${OWN}`.length) ?? '']?.()
  })
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const get = async (path: string, method = 'GET') => {
    const raw = openRaw(t, proxy.tcp)
    raw.say(
      `${method} ${proxy.base}${path} HTTP/1.1\r\nHost: 127.0.0.1:${proxy.tcp.port}\r\n` +
        `Authorization: Bearer ${token}\r\nConnection: close\r\n\r\n`,
    )
    return raw.closed()
  }
  const gzip = await get('/gzip')
  t.ok(gzip.includes(zipped.toString('latin1')), 'compressed bytes untouched')
  t.match(gzip, /content-encoding: gzip/i)
  t.notMatch(await get('/cookies'), /set-cookie/i)
  t.match(await get('/204'), /^HTTP\/1\.1 204 No Content\r\n(?![\s\S]*(content-length|transfer-encoding))/i)
  t.match(await get('/304'), /^HTTP\/1\.1 304[\s\S]*etag: "x"/i)
  t.match(await get('/404'), /^HTTP\/1\.1 404 Not Found\r\n[\s\S]*\{"detail":"Not Found"\}/)
  t.match(await get('/409'), /retry-after: Fri, 20 Nov/i)
  t.match(await get('/500'), /^HTTP\/1\.1 500[\s\S]*exception_message/)
  t.match(
    await get('/hints'),
    /^HTTP\/1\.1 103 Early Hints\r\nlink: <\/style\.css>; rel=preload[\s\S]*HTTP\/1\.1 200[\s\S]*after/i,
  )
  t.match(await get('/trailers'), /trailer: x-sum[\s\S]*body\r\n0\r\nx-sum: 42\r\n/i)
  t.match(await get('/404', 'HEAD'), /^HTTP\/1\.1 404[\s\S]*\r\n\r\n$/)
})

t.test('passes redirects on without following them, and points those within the API at itself', async (t) => {
  let location = ''
  const { url } = await startUpstream(t, (_request, response) => response.writeHead(307, { location }).end())
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const here = `http://127.0.0.1:${proxy.tcp.port}/proxy/cloud/api`
  const cases = [
    [`${url}/api${OWN}/flows/?x=1`, `${here}${OWN}/flows/?x=1`],
    [`/api${OWN}/flows/`, `/proxy/cloud/api${OWN}/flows/`],
    [`${url}/apiary`, `${url}/apiary`],
    [`${url}/api/../secret`, `${url}/api/../secret`],
    ['https://evil.example/api/x', 'https://evil.example/api/x'],
    ['//evil.example/api/x', '//evil.example/api/x'],
    ['flows/', 'flows/'],
  ] as const
  for (const [from, to] of cases) {
    location = from
    const answer = await ask(proxy.tcp, `${proxy.base}/flows`, { token })
    t.equal(answer.status, 307)
    t.equal(answer.headers.location, to)
  }
})

t.test('refuses paths of others and paths that create or read keys', async (t) => {
  let reached = ''
  const { url } = await startUpstream(t, (request, response) => {
    reached = request.url ?? ''
    response.end('{}')
  })
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  for (const path of [
    `/accounts/${OTHER}/workspaces/${OTHER}/flows`,
    '/users/x/api_keys',
    `/accounts/${ACCOUNT}/bots/`,
  ]) {
    const answer = await ask(proxy.tcp, `/proxy/cloud/api${path}`, { token, method: 'POST' })
    t.equal(answer.status, 403, path)
    t.match(json(answer), { code: 'proxy_path_refused', detail: /does not forward this path/ })
  }
  t.equal(reached, '')
  for (const path of ['/me/workspaces', '/me/', `${OWN}/flows/filter`, `/accounts/${ACCOUNT}/settings`]) {
    t.equal((await ask(proxy.tcp, `/proxy/cloud/api${path}`, { token })).status, 200, path)
    t.equal(reached, `/api${path}`)
  }
})

t.test('passes events on one by one, and tells Prefect when the client leaves', async (t) => {
  const gone = { before: 0, during: 0 }
  const { url, server } = await startUpstream(t, (request, response) => {
    const isStream = request.url?.endsWith('/stream') ?? false
    response.on('close', () => {
      if (isStream) gone.during += 1
      else gone.before += 1
    })
    if (!isStream) {
      server.emit('silent')
      return
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: 1\n\n')
  })
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const head = `Host: 127.0.0.1:${proxy.tcp.port}\r\nAuthorization: Bearer ${token}\r\n\r\n`
  const stream = openRaw(t, proxy.tcp)
  stream.say(`GET ${proxy.base}/stream HTTP/1.1\r\n${head}`)
  await stream.hear(/data: 1/)
  stream.socket.destroy()
  const silent = openRaw(t, proxy.tcp)
  silent.say(`GET ${proxy.base}/never HTTP/1.1\r\n${head}`)
  await once(server, 'silent')
  silent.socket.destroy()
  while (gone.before + gone.during < 2) await new Promise((resolve) => setTimeout(resolve, 5))
  t.same(gone, { before: 1, during: 1 })
})

t.test('sends the head of a response before its first byte', async (t) => {
  const { url } = await startUpstream(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.flushHeaders()
  })
  const proxy = await startProxy(t, url)
  const raw = openRaw(t, proxy.socket)
  raw.say(`GET ${proxy.base}/stream HTTP/1.1\r\nHost: authd\r\n\r\n`)
  t.match(await raw.hear(/\r\n\r\n/), /^HTTP\/1\.1 200 OK/)
})

t.test('breaks the response if Prefect dies in the middle of it', async (t) => {
  const { url } = await startUpstream(t, (request, response) => {
    if (request.url?.endsWith('/length')) response.writeHead(200, { 'content-length': '1000' })
    response.write('half of it', () => response.socket?.destroy())
  })
  const proxy = await startProxy(t, url)
  for (const path of ['/length', '/chunks']) {
    await t.rejects(ask(proxy.socket, `${proxy.base}${path}`), path)
  }
})

t.test('passes on a response that comes before the whole body was sent', async (t) => {
  const { url } = await startUpstream(t, (request, response) => {
    request.resume()
    response.writeHead(413, { connection: 'close' }).end('{"detail":"too large"}')
  })
  const proxy = await startProxy(t, url)
  const raw = openRaw(t, proxy.socket)
  raw.say(
    `POST ${proxy.base}/x HTTP/1.1\r\nHost: authd\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(1000)}`,
  )
  t.match(await raw.hear(/too large/), /^HTTP\/1\.1 413/)
})

/** An upstream that answers with pieces and breaks off, all in the same moment. */
class BreaksOff extends Agent {
  override dispatch(_options: Agent.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    handler.onConnect?.(() => undefined)
    handler.onHeaders?.(200, [Buffer.from('content-length'), Buffer.from('1000000')], () => undefined, 'OK')
    handler.onData?.(Buffer.alloc(16_384, 'x'))
    handler.onData?.(Buffer.alloc(10_000, 'y'))
    handler.onError?.(new Error('other side closed'))
    return true
  }
}

t.test('all that came of a response that breaks off reaches the client', async (t) => {
  const proxy = await startProxy(t, 'http://127.0.0.1:9', { agent: new BreaksOff() })
  const raw = openRaw(t, proxy.socket)
  raw.say(`GET ${proxy.base}/x HTTP/1.1\r\nHost: authd\r\n\r\n`)
  const text = await raw.hear(/never/)
  t.ok(raw.isClosed())
  t.equal(text.length - text.indexOf('\r\n\r\n') - 4, 26_384)
})

t.test('aborts the upstream request if the client aborts its upload', async (t) => {
  let aborted = false
  const { url, server } = await startUpstream(t, (request) => {
    request.resume()
    request.once('data', () => server.emit('begun'))
    request.on('close', () => {
      aborted = !request.complete
      server.emit('aborted')
    })
  })
  const proxy = await startProxy(t, url)
  const raw = openRaw(t, proxy.socket)
  const over = once(server, 'aborted')
  const begun = once(server, 'begun')
  raw.say(
    `POST ${proxy.base}/x HTTP/1.1\r\nHost: authd\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(100_000)}`,
  )
  await begun
  raw.socket.destroy()
  await over
  t.ok(aborted)
})
