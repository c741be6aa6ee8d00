/** Attacks on the proxy and on the key; each is first shown to work on a naive proxy. */

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Agent } from 'undici'
import { ask, askRaw, json, type Place, testBoth } from '../fixtures/api-under-test.js'
import {
  ACCOUNT,
  bodyOf,
  OTHER,
  OWN,
  portOf,
  REAL_KEY,
  startProxy,
  startUpstream,
} from '../fixtures/proxy-under-test.js'
import { startNaiveProxy } from './fixtures/naive-proxy.js'

/** A server, and what it received. */
interface Ear {
  readonly url: string
  readonly heard: {
    readonly url: string
    readonly key: string
    readonly raw: readonly string[]
    readonly body: string
  }[]
}

async function startEar(t: Pick<Test, 'teardown'>): Promise<Ear> {
  const heard: Ear['heard'][number][] = []
  const { url } = await startUpstream(t, (request: IncomingMessage, response) => {
    bodyOf(request).then(
      (body) => {
        const key = request.headers.authorization ?? ''
        heard.push({ url: request.url ?? '', key, raw: request.rawHeaders, body: body.toString() })
        response.end('{}')
      },
      () => response.destroy(),
    )
  })
  return { url, heard }
}

interface Target {
  readonly place: Place
  readonly host: string
  readonly authorization: string
}

/** Both proxies in front of one Prefect, and a stranger's server. */
async function startBoth(t: Pick<Test, 'teardown'>, recogniser: 'on' | 'off') {
  const [prefect, evil] = [await startEar(t), await startEar(t)]
  const naivePort = await startNaiveProxy(t, prefect.url, REAL_KEY)
  const proxy = await startProxy(t, prefect.url, { recogniser })
  const token = await proxy.broker.token('proxy', ['cloud'])
  const target = (port: number): Target => ({
    place: { port, host: '127.0.0.1' },
    host: `127.0.0.1:${port}`,
    authorization: `Bearer ${token}`,
  })
  return { prefect, evil, proxy, token, naive: target(naivePort), ours: target(proxy.tcp.port) }
}

const raw = ({ place, host, authorization }: Target, line: string, headers = '', body = '') =>
  askRaw(
    place,
    `${line}\r\nHost: ${host}\r\nAuthorization: ${authorization}\r\n${headers}Connection: close\r\n\r\n${body}`,
  )

testBoth(t, 'never follows a host in the request target', async (t, recogniser) => {
  const { prefect, evil, naive, ours } = await startBoth(t, recogniser)
  const lines = [
    `GET ${evil.url}/proxy/cloud/api/me/ HTTP/1.1`,
    `GET ${evil.url}/proxy/cloud/api${OWN}/x HTTP/1.1`,
  ]
  for (const line of lines) await raw(naive, line)
  t.equal(evil.heard.length, lines.length, 'the naive proxy went there')
  t.equal(evil.heard[0]?.key, `Bearer ${REAL_KEY}`, 'with the key')
  evil.heard.length = 0
  for (const line of [...lines, `GET //${evil.url.slice(7)}/proxy/cloud/api/me/ HTTP/1.1`]) {
    t.match(await raw(ours, line), /^HTTP\/1\.1 4/, line)
  }
  t.match(await raw(ours, `CONNECT ${evil.url.slice(7)} HTTP/1.1`), /^HTTP\/1\.1 400/)
  t.same([evil.heard, prefect.heard], [[], []])
})

testBoth(t, 'lets no path lead out of the profile’s own workspace', async (t, recogniser) => {
  const { prefect, naive, ours } = await startBoth(t, recogniser)
  const other = `accounts/${OTHER}/workspaces/${OTHER}/flows`
  const keys = `accounts/${ACCOUNT}/bots/`
  const paths = [
    `/proxy/cloud/api${OWN}/../../../../${other}`,
    `/proxy/cloud/api${OWN}/%2e%2e/%2e%2e/%2e%2e/%2e%2e/${other}`,
    `/proxy/cloud/api${OWN}/%252e%252e/%252e%252e/${other}`,
    `/proxy/cloud/api${OWN}/..;/..;/..;/..;/${other}`,
    `/proxy/cloud/api${OWN}/..%2f..%2f..%2f..%2f${other}`,
    `/proxy/cloud/api${OWN}/..\\..\\..\\..\\${other}`,
    `/proxy/cloud/api/${other}`,
    `/proxy/cloud/api//${other}`,
    `/proxy/cloud/api/${keys}`,
    `/proxy/cloud/api/accounts/${ACCOUNT}/%62ots/`,
    '/proxy/cloud/api/users/me/api_keys',
  ]
  for (const path of paths) await raw(naive, `GET ${path} HTTP/1.1`)
  t.equal(
    prefect.heard.filter(({ key }) => key.includes(REAL_KEY)).length,
    paths.length,
    'the naive proxy sends all',
  )
  prefect.heard.length = 0
  for (const path of paths) t.match(await raw(ours, `GET ${path} HTTP/1.1`), /^HTTP\/1\.1 403/, path)
  t.same(prefect.heard, [])
})

testBoth(
  t,
  'keeps its own headers, and drops those by which a client names itself',
  async (t, recogniser) => {
    const { prefect, naive, ours } = await startBoth(t, recogniser)
    const path = `/proxy/cloud/api${OWN}/x`
    const hostile =
      'Connection: keep-alive, Authorization, X-Secret, Content-Type\r\nX-Secret: 1\r\nContent-Type: text/x\r\n' +
      'X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil\r\nForwarded: for=evil\r\nX-Real-IP: 1.2.3.4\r\nVia: 1.1 evil\r\n' +
      'Proxy-Authorization: Basic eDp5\r\nTE: trailers\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nUpgrade: h2c\r\n'
    await raw(naive, `GET ${path} HTTP/1.1`, hostile)
    t.equal(prefect.heard[0]?.key, '', 'the naive proxy strips the header that it has just set')
    t.match(prefect.heard[0]?.raw.join(' '), /evil/)
    prefect.heard.length = 0
    await raw(ours, `GET ${path} HTTP/1.1`, hostile)
    t.equal(prefect.heard[0]?.key, `Bearer ${REAL_KEY}`)
    t.notMatch(
      prefect.heard[0]?.raw.join('\n'),
      /evil|1\.2\.3\.4|x-secret|text\/x|proxy-|^te$|keep-alive: 1|h2c|via/im,
    )
    t.equal(prefect.heard[0]?.raw.filter((name) => name.toLowerCase() === 'authorization').length, 1)
  },
)

testBoth(t, 'takes a request inside a request for one request, or none', async (t, recogniser) => {
  const { prefect, naive, ours } = await startBoth(t, recogniser)
  const path = `/proxy/cloud/api${OWN}/x`
  const inner = `GET /api/accounts/${ACCOUNT}/bots/ HTTP/1.1\r\nHost: x\r\n\r\n`
  const chunked = `${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`
  const both = `Content-Length: 4\r\nTransfer-Encoding: chunked\r\n`
  await raw(naive, `POST ${path} HTTP/1.1`, both, chunked)
  t.ok(prefect.heard.length >= 1, 'the naive proxy takes a length and chunks')
  prefect.heard.length = 0
  const attacks = [
    [both, chunked],
    ['Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n', chunked],
    ['Transfer-Encoding: xchunked\r\n', chunked],
    ['Content-Length: 3\r\nContent-Length: 4\r\n', inner],
    ['Content-Length: +3\r\n', inner],
    ['Content-Length : 3\r\n', inner],
    ['X: y\nContent-Length: 3\r\n', inner],
  ] as const
  for (const [headers, body] of attacks) {
    t.match(await raw(ours, `POST ${path} HTTP/1.1`, headers, body), /^HTTP\/1\.1 400/, headers.slice(0, 40))
  }
  t.same(prefect.heard, [])
  await raw(ours, `POST ${path} HTTP/1.1`, 'Transfer-Encoding: chunked\r\n', chunked)
  t.same(
    prefect.heard.map(({ url, body }) => [url, body]),
    [[`/api${OWN}/x`, inner]],
    'chunks stay a body',
  )
})

testBoth(t, 'never follows a redirect with the key', async (t, recogniser) => {
  const evil = await startEar(t)
  const { url } = await startUpstream(t, (_request, response) =>
    response.writeHead(302, { location: `${evil.url}/api/steal` }).end(),
  )
  const naive = await startNaiveProxy(t, url, REAL_KEY)
  await ask({ port: naive, host: '127.0.0.1' }, `/proxy/cloud/api${OWN}/x`)
  t.equal(evil.heard[0]?.key, `Bearer ${REAL_KEY}`, 'the naive proxy follows with the key')
  const proxy = await startProxy(t, url, { recogniser })
  const answer = await ask(proxy.socket, `${proxy.base}/x`)
  t.equal(answer.headers.location, `${evil.url}/api/steal`)
  t.equal(evil.heard.length, 1)
})

t.test('sends no key to a server whose certificate is not Prefect’s', async (t) => {
  const directory = t.testdir()
  const [key, cert] = ['key.pem', 'cert.pem'].map((name) => join(directory, name))
  execFileSync(
    'openssl',
    [
      ...[
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-nodes',
        '-days',
        '1',
      ],
      ...[
        '-subj',
        '/CN=localhost',
        '-addext',
        'subjectAltName=DNS:localhost',
        '-keyout',
        key ?? '',
        '-out',
        cert ?? '',
      ],
    ],
    { stdio: 'ignore' },
  )
  let heard = 0
  const files = { key: readFileSync(key ?? ''), cert: readFileSync(cert ?? '') }
  const server = createTlsServer(files, (_request, response) => {
    heard += 1
    response.end('{}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `https://localhost:${portOf(server)}`
  const trusting = new Agent({ connect: { rejectUnauthorized: false } })
  const naive = await startProxy(t, url, { agent: trusting })
  t.equal(
    (await ask(naive.socket, `${naive.base}/x`)).status,
    200,
    'a proxy that checks nothing talks to anybody',
  )
  t.equal(heard, 1)
  const proxy = await startProxy(t, url)
  const answer = await ask(proxy.socket, `${proxy.base}/x`)
  t.equal(answer.status, 503)
  t.match(json(answer).detail, /SELF_SIGNED|UNABLE_TO_VERIFY|CERT/)
  const named = await startProxy(t, url.replace('localhost', '127.0.0.1'), {
    agent: new Agent({ connect: { ca: files.cert } }),
  })
  t.match(json(await ask(named.socket, `${named.base}/x`)).detail, /certificate is for another host/)
  const known = await startProxy(t, url, { agent: new Agent({ connect: { ca: files.cert } }) })
  t.equal((await ask(known.socket, `${known.base}/x`)).status, 200)
  t.equal(heard, 2)
})

testBoth(t, 'times out a client that stops sending its body', async (t, recogniser) => {
  const { prefect, naive } = await startBoth(t, recogniser)
  const proxy = await startProxy(t, prefect.url, { limits: { bodyIdleMs: 100 }, recogniser })
  const token = await proxy.broker.token('proxy', ['cloud'])
  const ours = { place: proxy.tcp, host: `127.0.0.1:${proxy.tcp.port}`, authorization: `Bearer ${token}` }
  const slow = async (target: Target, length: number) =>
    askRaw(
      target.place,
      `POST /proxy/cloud/api${OWN}/x HTTP/1.1\r\nHost: ${target.host}\r\n` +
        `Authorization: ${target.authorization}\r\nContent-Length: ${length}\r\n\r\n{`,
    )
  const patience = new Promise((resolve) => setTimeout(() => resolve('still waiting'), 400))
  t.equal(await Promise.race([slow(naive, 90), patience]), 'still waiting', 'a naive proxy keeps waiting')
  for (const length of [90, 900_000])
    t.match(await slow(ours, length), /^HTTP\/1\.1 (400|502)/, `${length} bytes`)
  t.same(prefect.heard, [])
})

testBoth(t, 'shows the key in no response, header, log line or audit line', async (t, recogniser) => {
  const { prefect, proxy, token } = await startBoth(t, recogniser)
  const texts: string[] = []
  for (const path of [
    `${proxy.base}/x`,
    '/proxy/cloud/api/users/x/api_keys',
    '/proxy/nothing/api/x',
    '/proxy/cloud',
  ]) {
    const answer = await ask(proxy.tcp, path, { token })
    texts.push(answer.text, JSON.stringify(answer.headers))
  }
  texts.push(JSON.stringify(proxy.broker.logged), JSON.stringify(proxy.broker.audit))
  texts.push(JSON.stringify(proxy.app.proxyTraffic()))
  t.notMatch(texts.join('\n'), REAL_KEY)
  t.notMatch(texts.join('\n'), token)
  t.equal(prefect.heard.length, 1)
  t.match(
    proxy.broker.audit.find(({ action }) => action === 'proxy'),
    {
      profile: 'cloud',
      tokenName: 'proxy token',
      door: 'tcp',
    },
  )
})
