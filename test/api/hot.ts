/** The requests that are answered before the framework: the same answers, audit lines and counts as the framework's. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { formatCallersFile } from '../../src/wire/callers-file.js'
import {
  type ApiUnderTest,
  ask,
  askRaw,
  type Place,
  startApi,
  statusIn,
  testBoth,
} from '../fixtures/api-under-test.js'
import { createManualClock } from '../fixtures/manual-clock.js'

/** A body of no bytes: nothing to the framework, and enough for what stands before it to leave the request alone. */
const TO_FRAMEWORK = 'Content-Length: 0\r\n'

const PLAIN = [
  '/livez',
  '/v1/credentials',
  '/v1/credentials?profile=cloud',
  '/v1/credentials?profile=server',
  '/v1/env',
  '/v1/env?format=fish&profile=server',
  '/v1/env?profile=cloud&format=json&follow=true',
  '/v1/env?allow_none=true&profile=empty&format=dotenv',
] as const

const ODD = [
  '/v1/credentials?profile=empty',
  '/v1/credentials?profile=nobody',
  '/v1/credentials?profile=',
  '/v1/credentials?',
  '/v1/credentials?profile',
  '/v1/credentials?profile=cloud&profile=server',
  '/v1/credentials?profile=cloud&',
  '/v1/credentials?profile=clo%75d',
  '/v1/credentials?profile=cloud#x',
  `/v1/credentials?profile=${'x'.repeat(201)}`,
  '/v1/credentials?format=sh',
  '/v1/credentials?__proto__=1',
  '/v1/credentials/',
  '//v1/credentials',
  '/v1/CREDENTIALS',
  '/v1/env?format=cmd',
  '/v1/env?follow=1&allow_none=no',
  '/v1/env?follow=maybe',
  '/v1/env?profile=empty',
  '/v1/env?profile=empty&allow_none=false',
  '/v1/env?constructor=x',
  '/livez?x=1',
  '/livez/',
  'http://authd/v1/credentials',
  '*',
] as const

/** A `PORT` is that of the listener. */
const HEADERS = [
  '',
  'If-None-Match: "cloud-7"\r\n',
  'If-None-Match: W/"cloud-7", "x"\r\n',
  'If-None-Match: *\r\n',
  'If-None-Match: "cloud-6"\r\nPrefer: wait=5\r\n',
  'Accept: application/problem+json\r\nUser-Agent: \x7fcurl/8\r\n',
  'Origin: null\r\n',
  'Host: evil.example\r\n',
  'Upgrade: h2c\r\n',
  'Upgrade: websocket\r\n',
  'Authorization: Basic YTpi\r\n',
  `Prefect-Auth-Profiles-File: ${formatCallersFile({ path: '/h/profiles.toml' })}\r\n`,
  `Prefect-Auth-Profiles-File: ${formatCallersFile({ path: '/other', chosenBy: 'PREFECT_HOME' })}\r\n`,
  `Prefect-Auth-Profiles-File: ${formatCallersFile({ path: '/other' })}\r\n`,
] as const

interface Said {
  readonly request: string
  readonly answer: string
}

/** Counts the requests that reach a route of the framework. */
function countFramework(t: Pick<Test, 'teardown'>): () => number {
  let count = 0
  const note = () => {
    count += 1
  }
  subscribe('tracing:fastify.request.handler:start', note)
  t.teardown(() => unsubscribe('tracing:fastify.request.handler:start', note))
  return () => count
}

function hostOf(place: Place): string {
  return 'port' in place ? `127.0.0.1:${place.port}` : 'authd'
}

/** Without what the time, the port and chance decide. */
function told(raw: string, place: Place): string {
  const port = 'port' in place ? String(place.port) : 'PORT'
  return raw.replace(/^date: .*\r\n/im, '').replaceAll(port, 'PORT')
}

/** Every request of the corpus with these headers added, to an API of its own; and what was written about them. */
async function sendAll(t: Pick<Test, 'teardown'>, added: string, recogniser: 'on' | 'off') {
  const api = await startApi(t, { clock: createManualClock(), recogniser })
  const tokens = [
    '',
    `Authorization: Bearer pab_${'x'.repeat(43)}\r\n`,
    ...(await Promise.all(
      [
        api.broker.token('use'),
        api.broker.token('use', ['server']),
        api.broker.token('use', ['server', 'cloud']),
        api.broker.token('proxy'),
        api.broker.token('inspect'),
      ].map(async (token) => `Authorization: Bearer ${await token}\r\n`),
    )),
  ]
  const said: Said[] = []
  const send = async (place: Place, target: string, headers: string) => {
    const head = `GET ${target} HTTP/1.1\r\nHost: ${hostOf(place)}\r\n${headers}${added}Connection: close\r\n\r\n`
    const answer = told(await askRaw(place, head), place)
    said.push({
      request: `${'port' in place ? 'tcp' : place.socketPath.slice(-6)} ${target} ${headers}`,
      answer,
    })
  }
  for (const place of [api.socket, api.restricted, api.tcp]) {
    for (const [at, token] of tokens.entries())
      for (const target of PLAIN) await send(place, target, `${token}User-Agent: a${at}\r\n`)
  }
  for (const target of ODD) {
    await send(api.socket, target, '')
    await send(api.tcp, target, tokens[3] ?? '')
  }
  for (const headers of HEADERS) for (const target of PLAIN) await send(api.socket, target, headers)
  api.broker.refuse('cloud', new BrokerError('login_required', 'no key', { hint: 'prefect-auth login' }))
  for (const target of PLAIN) await send(api.socket, target, '')
  await send(api.socket, '/v1/env?allow_none=true', '')
  const audit = api.broker.audit.map(({ conn: _, ...entry }) => entry)
  const { text } = await ask(api.socket, '/metrics')
  return { said, audit, handedOut: api.broker.handedOut, metrics: text.split('\n').sort() }
}

testBoth(t, 'answers, audits and counts what the framework would, byte for byte', async (t, recogniser) => {
  const early = await sendAll(t, '', recogniser)
  const late = await sendAll(t, TO_FRAMEWORK, recogniser)
  for (const [at, { request, answer }] of early.said.entries()) {
    const { answer: expected = '' } = late.said[at] ?? {}
    if (answer !== expected) t.equal(answer, expected, request)
  }
  t.equal(early.said.length, late.said.length)
  const statuses = new Set(early.said.map(({ answer }) => statusIn(answer)))
  t.same([...statuses].sort(), [200, 304, 400, 401, 403, 404, 409, 421], 'the corpus has all of them')
  t.same(early.audit, late.audit)
  t.same(early.handedOut, late.handedOut)
  t.same(early.metrics, late.metrics)
})

testBoth(t, 'needs the framework for none of the plain ones', async (t, recogniser) => {
  const api = await startApi(t, { recogniser })
  const token = await api.broker.token('use')
  const framework = countFramework(t)
  for (const target of PLAIN) {
    t.equal((await ask(api.socket, target)).status, 200)
    t.equal((await ask(api.tcp, target, { token })).status, 200)
  }
  const tag = { 'if-none-match': '"cloud-7"' }
  t.equal((await ask(api.socket, '/v1/credentials', { headers: tag })).status, 304)
  t.equal(framework(), 0)
  t.equal((await ask(api.socket, '/v1/status')).status, 200)
  t.equal(framework(), 1)
})

/** A connection that stays: one answer for each request, in turn. */
function open(t: Pick<Test, 'teardown'>, place: Place) {
  const socket = connect('port' in place ? place : { path: place.socketPath })
  t.teardown(() => socket.destroy())
  socket.setEncoding('utf8')
  return async (target: string, token: string): Promise<string> => {
    socket.write(`GET ${target} HTTP/1.1\r\nHost: ${hostOf(place)}\r\nAuthorization: Bearer ${token}\r\n\r\n`)
    const [text] = await once(socket, 'data')
    return String(text)
  }
}

/** What must count at the next request of a connection that has been answered before. */
const CHANGES: readonly (readonly [
  name: string,
  change: (api: ApiUnderTest, pass: (ms: number) => void) => unknown,
  after: RegExp,
])[] = [
  [
    'the token is revoked',
    ({ broker }) => broker.deps.tokens.revoke('tok1'),
    /^HTTP\/1.1 401[\s\S]*token_invalid/,
  ],
  ['the token expires', (_api, pass) => pass(60_001), /^HTTP\/1.1 401[\s\S]*token_invalid/],
  [
    'the key is another',
    ({ broker }) => broker.serve('cloud', { apiUrl: 'https://new' }),
    /https:\/\/new[\s\S]*/,
  ],
  [
    'the profile is refused',
    ({ broker }) => broker.refuse('cloud', new BrokerError('login_required', 'none')),
    /^HTTP\/1.1 401[\s\S]*login_required/,
  ],
  ['another profile is active', ({ broker }) => broker.activate('server'), /localhost:4200/],
]

for (const target of ['/v1/credentials', '/v1/env?format=json'] as const) {
  for (const [name, change, after] of CHANGES) {
    testBoth(t, `${target}: looks again at each request: ${name}`, async (t, recogniser) => {
      const clock = createManualClock()
      const api = await startApi(t, { clock, recogniser })
      const token = await api.broker.token('use')
      const send = open(t, api.tcp)
      t.match(await send(target, token), /^HTTP\/1.1 200[\s\S]*api\.prefect\.cloud/)
      await change(api, clock.pass)
      t.match(await send(target, token), after)
    })
  }
}

testBoth(t, 'while it stops, an answer does not cut off those before it', async (t, recogniser) => {
  const api = await startApi(t, { recogniser })
  const socket = connect('port' in api.socket ? api.socket : { path: api.socket.socketPath })
  t.teardown(() => socket.destroy())
  let heard = ''
  socket.setEncoding('utf8').on('data', (text: string) => {
    heard += text
  })
  const end = ' HTTP/1.1\r\nHost: authd\r\n\r\n'
  socket.write('GET /v1/sta')
  while (api.app.presence().connections === 0) await new Promise((resolve) => setImmediate(resolve))
  const closed = api.app.close(2_000)
  socket.write(`tus${end}GET /v1/credentials${end}`)
  await closed
  if (!socket.readableEnded) await once(socket, 'end')
  t.equal(heard.match(/HTTP\/1\.1 200 /g)?.length, 2)
  t.match(heard, /"daemon":[\s\S]*"env":/, 'in their order')
})
