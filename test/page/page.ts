/** The page's listener over real HTTP: its own document and script come in, and no other page's requests do. */
import { createServer } from 'node:http'
import t, { type Test } from 'tap'
import type { EventType } from '../../src/base/events.js'
import { toBrokerError } from '../../src/http/problem.js'
import { createPage } from '../../src/page/page.js'
import { MINUTE_MS } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { createManualClock } from '../fixtures/manual-clock.js'
import { rawRequest, sendRaw } from '../fixtures/raw-http.js'

type Headers = readonly (readonly [name: string, value: string])[]

async function start(t: Test) {
  const clock = createManualClock()
  const events: EventType[] = []
  const audited: string[] = []
  let made = 0
  const page = createPage({
    clock,
    log: silentLog(),
    events: { emit: (type) => void events.push(type) },
    trail: { done: (_request, { door }, action) => void audited.push(`${action} by ${door}`) },
    randomToken: () => String(++made).padStart(43, 'x'),
    loadDocument: async () => ({
      html: '<!doctype html>ours',
      headers: { 'content-security-policy': 'ours' },
    }),
    openServer: () =>
      createServer((request, response) => {
        if (page.handle(request, response)) return
        try {
          page.admit(request)
          // An event stream never ends by itself.
          if (request.url === '/v1/events') response.write('begun')
          else response.end('admitted')
        } catch (error) {
          response.writeHead(403).end(toBrokerError(error).code)
        }
      }),
  })
  t.teardown(() => page.close())
  const { url } = await page.link()
  const { port, host, origin, hash } = new URL(url)
  const ask = (line: string, headers: Headers, body?: string) =>
    sendRaw(Number(port), rawRequest(`${line} HTTP/1.1`, headers, body))
  const own: Headers = [
    ['Host', host],
    ['Sec-Fetch-Site', 'same-origin'],
    ['Sec-Fetch-Dest', 'empty'],
  ]
  const swap = (link = hash.slice(1), headers: Headers = [...own, ['Origin', origin], JSON_TYPE]) =>
    ask('POST /session', headers, JSON.stringify({ link }))
  return { clock, events, audited, page, port, host, origin, own, ask, swap }
}

const JSON_TYPE = ['Content-Type', 'application/json'] as const
const without = (headers: Headers, name: string) => headers.filter(([one]) => one !== name)

t.test('a person’s navigation gets the document, with nothing secret in it', async (t) => {
  const { ask, host } = await start(t)
  const navigation: Headers = [
    ['Host', host],
    ['Sec-Fetch-Site', 'none'],
    ['Sec-Fetch-Mode', 'navigate'],
    ['Sec-Fetch-Dest', 'document'],
  ]
  const { status, body, headers } = await ask('GET /', navigation)
  t.equal(status, 200)
  t.equal(body, '<!doctype html>ours')
  t.match(headers, {
    'content-security-policy': 'ours',
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'x-frame-options': 'DENY',
    'x-content-type-options': 'nosniff',
  })
  t.notHas(headers, 'set-cookie')
  t.equal((await ask('GET /', [['Host', host]])).status, 200, 'also in a browser that sends no Sec-Fetch')
})

t.test('the document is for nobody else', async (t) => {
  const { ask, host, port } = await start(t)
  const cases: readonly (readonly [what: string, line: string, headers: Headers, status: number])[] = [
    ['a rebound name', 'GET /', [['Host', `evil.example:${port}`]], 421],
    ['localhost, which is another origin', 'GET /', [['Host', `localhost:${port}`]], 421],
    ['another port', 'GET /', [['Host', '127.0.0.1:1']], 421],
    [
      'two Hosts',
      'GET /',
      [
        ['Host', host],
        ['Host', host],
      ],
      403,
    ],
    [
      'a frame',
      'GET /',
      [
        ['Host', host],
        ['Sec-Fetch-Dest', 'iframe'],
      ],
      403,
    ],
    [
      'a script tag',
      'GET /',
      [
        ['Host', host],
        ['Sec-Fetch-Dest', 'script'],
      ],
      403,
    ],
    [
      'a fetch',
      'GET /',
      [
        ['Host', host],
        ['Sec-Fetch-Mode', 'cors'],
      ],
      403,
    ],
    [
      'a link on another site',
      'GET /',
      [
        ['Host', host],
        ['Sec-Fetch-Site', 'cross-site'],
      ],
      403,
    ],
    [
      'a page on another port',
      'GET /',
      [
        ['Host', host],
        ['Sec-Fetch-Site', 'same-site'],
      ],
      403,
    ],
    [
      'a prerender',
      'GET /',
      [
        ['Host', host],
        ['Sec-Purpose', 'prefetch;prerender'],
      ],
      403,
    ],
    ['another method', 'POST /', [['Host', host]], 405],
    ['a whole URL as the target', `GET http://${host}/`, [['Host', host]], 403],
  ]
  for (const [what, line, headers, status] of cases) t.equal((await ask(line, headers)).status, status, what)
})

t.test('our script swaps the link for a bearer, and is admitted with it', async (t) => {
  const { swap, ask, own, origin, events } = await start(t)
  const { status, body } = await swap()
  t.equal(status, 200)
  const { bearer } = JSON.parse(body)
  const authorization = ['Authorization', `Bearer ${bearer}`] as const
  t.equal((await ask('GET /v1/status', [...own, authorization])).body, 'admitted')
  t.equal((await ask('DELETE /v1/tokens/1', [...own, authorization, ['Origin', origin]])).body, 'admitted')
  t.same(events, ['page.opened'])
})

t.test('the swap is for our own script alone', async (t) => {
  const { swap, own, origin, host, port, events } = await start(t)
  const good: Headers = [...own, ['Origin', origin], JSON_TYPE]
  const cases: readonly (readonly [what: string, headers: Headers, status: number])[] = [
    ['without Origin', without(good, 'Origin'), 403],
    ['Origin null', [...without(good, 'Origin'), ['Origin', 'null']], 403],
    ['another port', [...without(good, 'Origin'), ['Origin', 'http://127.0.0.1:1']], 403],
    ['localhost', [...without(good, 'Origin'), ['Origin', `http://localhost:${port}`]], 403],
    ['https', [...without(good, 'Origin'), ['Origin', `https://${host}`]], 403],
    ['two Origins', [...good, ['Origin', origin]], 403],
    ['another site', [...without(good, 'Sec-Fetch-Site'), ['Sec-Fetch-Site', 'cross-site']], 403],
    ['a form', [...without(good, 'Content-Type'), ['Content-Type', 'text/plain']], 415],
    ['no type', without(good, 'Content-Type'), 415],
    ['a foreign Referer', [...good, ['Referer', 'http://127.0.0.1:1/']], 403],
    ['another Host', [...without(good, 'Host'), ['Host', `localhost:${port}`]], 421],
  ]
  for (const [what, headers, status] of cases) t.equal((await swap(undefined, headers)).status, status, what)
  t.equal((await swap('short')).status, 400, 'no link')
  t.same(events, [], 'nothing was opened')
  t.equal((await swap()).status, 200, 'and none of these used the link up')
})

t.test('without the bearer, or with it from elsewhere, nobody is admitted', async (t) => {
  const { swap, ask, own, origin, host } = await start(t)
  const { bearer } = JSON.parse((await swap()).body)
  const authorization = ['Authorization', `Bearer ${bearer}`] as const
  const good: Headers = [...own, authorization]
  const cases: readonly (readonly [what: string, line: string, headers: Headers])[] = [
    ['no bearer', 'GET /v1/status', own],
    ['another bearer', 'GET /v1/status', [...own, ['Authorization', `Bearer ${'y'.repeat(43)}`]]],
    ['two bearers', 'GET /v1/status', [...good, authorization]],
    ['a bearer in the URL', `GET /v1/status?bearer=${bearer}`, own],
    ['a change without Origin', 'DELETE /v1/tokens/1', good],
    ['a change from another port', 'DELETE /v1/tokens/1', [...good, ['Origin', 'http://127.0.0.1:1']]],
    ['a read from another origin', 'GET /v1/status', [...good, ['Origin', 'http://127.0.0.1:1']]],
    [
      'a read of another site',
      'GET /v1/status',
      [['Host', host], ['Sec-Fetch-Site', 'same-site'], authorization],
    ],
    ['an image', 'GET /v1/status', [...without(good, 'Sec-Fetch-Dest'), ['Sec-Fetch-Dest', 'image']]],
    ['a preflight', 'OPTIONS /v1/status', [...own, ['Origin', origin]]],
  ]
  for (const [what, line, headers] of cases) t.equal((await ask(line, headers)).status, 403, what)
})

t.test('the second use of a link ends its page and says so', async (t) => {
  const { swap, ask, own, events } = await start(t)
  const { bearer } = JSON.parse((await swap()).body)
  const second = await swap()
  t.equal(second.status, 401)
  t.match(second.body, /used before/)
  t.same(events, ['page.opened', 'page.alarm'])
  t.equal((await ask('GET /v1/status', [...own, ['Authorization', `Bearer ${bearer}`]])).status, 403)
})

t.test('the stream of a page ends with its session, after what it was told', async (t) => {
  const { swap, origin, audited } = await start(t)
  const { bearer } = JSON.parse((await swap()).body)
  const { body } = await fetch(`${origin}/v1/events`, { headers: { authorization: `Bearer ${bearer}` } })
  const reader = body?.pipeThrough(new TextDecoderStream()).getReader()
  t.equal((await reader?.read())?.value, 'begun')
  await swap()
  await t.rejects(async () => reader?.read(), 'it is cut')
  t.same(audited, ['page_opened by page', 'page_alarm by page'])
})

t.test('stopped while it opens, it does not open', async (t) => {
  const { page, clock } = await start(t)
  clock.pass(10 * MINUTE_MS)
  t.equal(page.address(), undefined)
  const opening = page.link()
  page.close()
  await t.rejects(opening, { code: 'shutting_down' })
  t.equal(page.address(), undefined)
  await t.rejects(page.link(), { code: 'shutting_down' })
})

t.test('closes after ten minutes without a request, and opens again', async (t) => {
  const { clock, page, swap, ask, own } = await start(t)
  const { bearer } = JSON.parse((await swap()).body)
  clock.pass(9 * MINUTE_MS)
  await ask('GET /v1/status', [...own, ['Authorization', `Bearer ${bearer}`]])
  clock.pass(9 * MINUTE_MS)
  t.ok(page.address(), 'a request counts as use')
  await ask('GET /v1/status', own)
  clock.pass(MINUTE_MS)
  t.equal(page.address(), undefined, 'a refused one does not')
  await t.rejects(ask('GET /', own), 'nobody listens')
  const { url } = await page.link()
  t.ok(page.address())
  t.match(url, /^http:\/\/127\.0\.0\.1:\d+\/#x+\d+$/)
})
