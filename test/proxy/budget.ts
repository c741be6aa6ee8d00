/** Bodies that are kept in memory: one budget, with a share for each caller. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import t from 'tap'
import { type BodyLimits, readBody } from '../../src/proxy/body.js'
import { createBudget } from '../../src/proxy/budget.js'
import { systemClock } from '../../src/std/clock.js'
import { createDeadlines } from '../../src/std/deadlines.js'
import { ask } from '../fixtures/api-under-test.js'
import { bodyOf, OWN, openRaw, portOf, startProxy, startUpstream } from '../fixtures/proxy-under-test.js'

// What never comes hangs the test; this ends it on the busiest machine, too.
t.setTimeout(120_000)
const KB = 1024
const turn = () => new Promise((resolve) => setImmediate(resolve))

t.test('a caller has a share, and all callers a budget', async (t) => {
  const budget = createBudget({ total: 100, perHolder: 60 })
  const [one, more, other] = [budget.open('a'), budget.open('a'), budget.open('b')]
  one.take(40)
  more.take(20)
  t.throws(() => more.take(1), { code: 'too_many_requests', message: /of this token/ })
  other.take(40)
  t.throws(() => other.take(1), { code: 'too_many_requests', message: /of all callers/ })
  one.close()
  one.close()
  t.equal(budget.used(), 60)
  more.take(40)
  for (const purse of [more, other]) purse.close()
  t.equal(budget.used(), 0)
})

t.test('bodies of one token that never end are bounded, and another token is served', async (t) => {
  const { url } = await startUpstream(t, (request, response) => {
    void bodyOf(request).then((body) => response.end(String(body.length)))
  })
  const proxy = await startProxy(t, url, { limits: { keptPerCaller: 512 * KB, keptBytes: 1024 * KB } })
  const [greedy, other] = [
    await proxy.broker.token('proxy', ['cloud']),
    await proxy.broker.token('proxy', ['cloud']),
  ]
  const post = (token: string, more: string) =>
    `POST /proxy/cloud/api${OWN}/logs HTTP/1.1\r\nHost: 127.0.0.1:${proxy.tcp.port}\r\n` +
    `Authorization: Bearer ${token}\r\n${more}`
  const chunk = `${(100 * KB).toString(16)}\r\n${'x'.repeat(100 * KB)}\r\n`
  const stalled = Array.from({ length: 20 }, () => {
    const raw = openRaw(t, proxy.tcp)
    raw.say(`${post(greedy, 'Transfer-Encoding: chunked\r\n\r\n')}${chunk}`)
    return raw
  })
  const refused = () => stalled.filter((raw) => raw.received().startsWith('HTTP/1.1 429 '))
  // Five times 100 KiB fit into its share, fewer with what joining pieces takes.
  while (refused().length < 15) await turn()
  t.match(refused()[0]?.received(), /retry-after: \d+\r\n/i)
  const small = openRaw(t, proxy.tcp)
  small.say(post(other, `Transfer-Encoding: chunked\r\n\r\n${chunk}0\r\n\r\n`))
  while (!small.received().includes('\r\n\r\n')) await turn()
  t.match(small.received(), /^HTTP\/1\.1 200 /)
  t.ok(refused().length < 20, 'some are still under way')

  for (const raw of stalled) raw.socket.destroy()
  let again = ''
  while (!again.startsWith('HTTP/1.1 200 ')) {
    const raw = openRaw(t, proxy.tcp)
    raw.say(post(greedy, `Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n${chunk}0\r\n\r\n`))
    while (!raw.isClosed()) await turn()
    again = raw.received()
  }
  t.pass('and the share is free again when they are gone')
})

const LIMITS: BodyLimits = {
  bufferBytes: 64 * KB,
  unmeasuredBytes: 1024 * KB,
  bodyIdleMs: 60_000,
  wholeMs: 60_000,
  keptBytes: 1024 * KB,
  keptPerCaller: 1024 * KB,
}

/** A request as the proxy sees it, and what sends it. */
async function receive(
  bytes: string,
): Promise<{ request: IncomingMessage; say: (text: string) => void; end: () => void }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect(portOf(server), '127.0.0.1')
  client.on('error', () => undefined)
  client.write(bytes)
  const [request] = await once(server, 'request')
  return {
    request,
    say: (text) => void client.write(text),
    end: () => {
      client.destroy()
      server.close()
    },
  }
}

const CHUNKED = 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'

t.test('a body in pieces of one byte costs about its bytes', async (t) => {
  const budget = createBudget({ total: LIMITS.keptBytes, perHolder: LIMITS.keptPerCaller })
  const { request, say, end } = await receive(CHUNKED)
  t.teardown(end)
  say(`${'1\r\nx\r\n'.repeat(50_000)}0\r\n\r\n`)
  const body = await readBody(request, LIMITS, createDeadlines(systemClock()), budget.open('a'))
  t.equal(body.kind === 'whole' ? body.bytes.toString() : '', 'x'.repeat(50_000))
  t.ok(budget.used() <= 2 * 64 * KB, `${budget.used()}`)
})

t.test('a body that drips has an end', async (t) => {
  const { request, say, end } = await receive(CHUNKED)
  t.teardown(end)
  const drip = setInterval(() => say('1\r\nx\r\n'), 20)
  t.teardown(() => clearInterval(drip))
  const purse = createBudget({ total: 1e6, perHolder: 1e6 }).open('a')
  await t.rejects(readBody(request, { ...LIMITS, wholeMs: 200 }, createDeadlines(systemClock()), purse), {
    code: 'bad_request',
    message: /did not arrive in time/,
  })
})

t.test('every end of a request gives back what it kept', async (t) => {
  let end: (request: IncomingMessage, response: ServerResponse) => void = (_request, response) =>
    response.end('{}')
  const { url } = await startUpstream(
    t,
    (request, response) => void bodyOf(request).then(() => end(request, response)),
  )
  const size = 60_000
  const limits = { keptPerCaller: size + 1_000, keptBytes: size + 1_000, bodyIdleMs: 50, answerMs: 300 }
  const proxy = await startProxy(t, url, { limits })
  const token = await proxy.broker.token('proxy', ['cloud'])
  const post = () => ask(proxy.tcp, `${proxy.base}/flows`, { token, method: 'POST', body: 'x'.repeat(size) })
  const raw = async (until: 'abort' | 'timeout') => {
    const one = openRaw(t, proxy.tcp)
    one.say(
      `POST ${proxy.base}/flows HTTP/1.1\r\nHost: 127.0.0.1:${proxy.tcp.port}\r\nAuthorization: Bearer ${token}\r\n` +
        `Content-Length: ${size}\r\n\r\n${'x'.repeat(size - 1)}`,
    )
    if (until === 'timeout') await one.hear(/^HTTP\/1\.1 400/)
    one.socket.destroy()
    while (proxy.app.presence().connections > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const ends: readonly (readonly [name: string, run: () => Promise<unknown>])[] = [
    ['answered', post],
    ['the client left', () => raw('abort')],
    ['the client was too slow', () => raw('timeout')],
    [
      'refused by the proxy',
      () => ask(proxy.tcp, '/proxy/cloud/api/users/x/api_keys', { token, method: 'POST', body: 'x' }),
    ],
    ['reset by the upstream', post],
    ['no answer in time', post],
    ['parked after a 401', post],
    ['half an answer', () => post().catch(() => undefined)],
  ]
  for (const [name, run] of ends) {
    end = (request, response) => {
      if (name === 'reset by the upstream') request.socket.resetAndDestroy()
      else if (name === 'parked after a 401') response.writeHead(401).end('{"detail":"x"}')
      else if (name === 'half an answer') {
        response.writeHead(200, { 'content-length': '9' }).write('x', () => request.socket.resetAndDestroy())
      } else if (name !== 'no answer in time') response.end('{}')
    }
    await run()
    end = (_request, response) => response.end('{}')
    t.equal((await post()).status, 200, name)
  }
})
