/** What is found at the URL of a self-hosted server, with the remedy: real servers that do what people's servers do. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { Agent } from 'undici'
import { askServer } from '../../src/prefect/server.js'
import { judgeServer } from '../../src/status/prefect.js'
import { systemClock } from '../../src/std/clock.js'
import { defined } from '../../src/std/defined.js'
import { Secret } from '../../src/std/secret.js'
import { createManualClock } from '../fixtures/manual-clock.js'
import { portOf, startUpstream } from '../fixtures/proxy-under-test.js'

const AUTH = 'admin:it is secret'
const BASIC = `Basic ${Buffer.from(AUTH).toString('base64')}`

async function ask(
  t: Test,
  apiUrl: string,
  {
    auth,
    clock = systemClock(),
  }: { readonly auth?: string; readonly clock?: ReturnType<typeof systemClock> } = {},
) {
  const agent = new Agent()
  t.teardown(() => agent.destroy())
  const authString = auth === undefined ? undefined : new Secret(auth)
  const answer = await askServer(
    { dispatcherFor: async () => agent, clock },
    { apiUrl, ...defined({ authString }) },
  )
  return judgeServer(answer, { name: 'srv', apiUrl, hasAuth: auth !== undefined })
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

/** As Prefect 3 does it: pages for whatever is not below the API, and basic auth for all but the health. */
function prefectAt(base: string, auth?: string): RequestListener {
  return (request: IncomingMessage, response: ServerResponse) => {
    if (request.url === `${base}/health`) return json(response, 200, true)
    if (!request.url?.startsWith(`${base}/`)) {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>the pages')
      return
    }
    const isKnown = auth === undefined || request.headers.authorization === auth
    if (!isKnown) return json(response, 401, { exception_message: 'Unauthorized' })
    return json(response, 200, '3.9.1')
  }
}

t.test('a server that answers is fine, with an auth string or in its URL', async (t) => {
  const open = await startUpstream(t, prefectAt('/api'))
  t.match(await ask(t, `${open.url}/api`), { verdict: 'ok', finding: /answers: Prefect 3\.9\.1$/ })
  t.match(await ask(t, `${open.url}/api/`), { verdict: 'ok' }, 'with a slash at the end')
  const closed = await startUpstream(t, prefectAt('/api', BASIC))
  t.match(await ask(t, `${closed.url}/api`, { auth: AUTH }), { verdict: 'ok' })
  const inUrl = `${closed.url.replace('//', '//admin:it%20is%20secret@')}/api`
  const found = await ask(t, inUrl)
  t.match(found, { verdict: 'ok' })
  t.notMatch(JSON.stringify(found), 'secret', 'which is not shown')
  const below = await startUpstream(t, prefectAt('/team/prefect/api'))
  t.match(await ask(t, `${below.url}/team/prefect/api`), { verdict: 'ok' })
})

t.test('a dead server is named, with how to start it or where to look', async (t) => {
  const gone = await startUpstream(t, prefectAt('/api'))
  const apiUrl = `${gone.url}/api`
  await new Promise((resolve) => gone.server.close(resolve))
  t.match(await ask(t, apiUrl), {
    verdict: 'problem',
    finding: /^cannot reach the server at 127\.0\.0\.1:\d+: the connection was refused$/,
    remedy: /^prefect server start .*prefect-auth profile set srv --api-url URL/,
  })
  t.match(await ask(t, 'http://no-such-host.invalid:4200/api'), {
    finding: /does not exist|cannot be looked up/,
    remedy: /^check that the server runs.*prefect-auth profile set srv --api-url URL/,
  })
})

t.test('one that never answers is given up', async (t) => {
  const held: ServerResponse[] = []
  const clock = createManualClock()
  const silent = await startUpstream(t, (_request, response) => {
    held.push(response)
    clock.pass(60_000)
  })
  t.match(await ask(t, `${silent.url}/api`, { clock }), {
    verdict: 'problem',
    finding: /did not answer in time/,
    remedy: /^prefect server start/,
  })
  t.equal(held.length, 1)
})

t.test('a URL without /api, of a page, or before a redirect is corrected', async (t) => {
  const { url } = await startUpstream(t, prefectAt('/api'))
  const below = await startUpstream(t, prefectAt('/team/api'))
  const moved = await startUpstream(t, (request, response) => {
    response.writeHead(308, { location: `${url}${request.url ?? ''}` }).end()
  })
  for (const [wrong, right] of [
    [url, `${url}/api`],
    [`${url}/`, `${url}/api`],
    [`${url}/dashboard`, `${url}/api`],
    [`${url}/runs/flow-run/1`, `${url}/api`],
    [`${url}/ap`, `${url}/api`],
    [`${below.url}/team`, `${below.url}/team/api`],
    [`${moved.url}/api`, `${url}/api`],
  ] as const) {
    const found = await ask(t, wrong, { auth: AUTH })
    t.match(found, {
      verdict: 'problem',
      finding: `the API of the server is not at the URL of profile 'srv', but at ${right}`,
      remedy: `prefect-auth profile set srv --api-url ${right}`,
    })
    t.match(await ask(t, right), { verdict: 'ok' }, 'and the remedy helps')
  }
})

t.test('a wrong auth string, or none where one is needed, is named', async (t) => {
  const { url } = await startUpstream(t, prefectAt('/api', BASIC))
  const inFront = await startUpstream(t, (request, response) => {
    if (request.headers.authorization === BASIC) return prefectAt('/api')(request, response)
    response.writeHead(401, { 'www-authenticate': 'Basic' }).end('nginx')
  })
  for (const server of [url, inFront.url]) {
    t.match(await ask(t, `${server}/api`, { auth: 'admin:wrong' }), {
      verdict: 'problem',
      finding: /refuses the auth string of profile 'srv'/,
      remedy: 'prefect-auth profile set srv --auth-string-stdin',
    })
    t.match(await ask(t, `${server}/api`), {
      verdict: 'problem',
      finding: /requires an auth string, and profile 'srv' has none/,
      remedy: 'prefect-auth profile set srv --auth-string-stdin',
    })
    t.match(await ask(t, `${server}/api`, { auth: AUTH }), { verdict: 'ok' })
  }
})

t.test('what is no Prefect is called by what it answered, without its words', async (t) => {
  const answers: readonly [RegExp, RequestListener][] = [
    [/200 and a web page/, (_, to) => to.writeHead(200, { 'content-type': 'text/html' }).end('<html>hush')],
    [/404 and an empty body/, (_, to) => to.writeHead(404).end()],
    [/200 and JSON that is not Prefect's/, (_, to) => json(to, 200, { status: 'hush' })],
    [/302 and an empty body/, (_, to) => to.writeHead(302, { location: 'http://127.0.0.1:9/hush' }).end()],
    [/403/, (_, to) => json(to, 403, 'hush')],
    [/the request failed|too large/, (_, to) => to.end('x'.repeat(200_000))],
  ]
  for (const [wanted, answer] of answers) {
    const { url } = await startUpstream(t, answer)
    const found = await ask(t, `${url}/api`)
    t.match(found, { verdict: 'problem', finding: wanted, remedy: /./ })
    t.notMatch(JSON.stringify(found), 'hush')
  }
  const { url } = await startUpstream(t, (_, to) => json(to, 503, { message: 'Database is not available' }))
  t.match(await ask(t, `${url}/api`), { verdict: 'problem', finding: /answers 503/, remedy: /log/ })

  const babble = createServer((socket) => socket.on('error', () => undefined).end('SSH-2.0-OpenSSH\r\n'))
  await new Promise<void>((resolve) => babble.listen(0, '127.0.0.1', resolve))
  t.teardown(() => babble.close())
  t.match(await ask(t, `http://127.0.0.1:${portOf(babble)}/api`), {
    verdict: 'problem',
    finding: /the answer is not HTTP/,
    remedy: /profile set srv --api-url/,
  })
})

t.test('the auth string goes to the URL of the profile, and nowhere else', async (t) => {
  const heard: (readonly [string, string | undefined])[] = []
  const other = await startUpstream(t, (request, response) => {
    heard.push(['other', request.headers.authorization])
    prefectAt('/api')(request, response)
  })
  const { url } = await startUpstream(t, (request, response) => {
    heard.push([request.url ?? '', request.headers.authorization])
    response.writeHead(307, { location: `${other.url}/api/health` }).end()
  })
  await ask(t, `${url}/x`, { auth: AUTH })
  t.same(heard, [
    ['/x/health', BASIC],
    ['other', undefined],
  ])
})
