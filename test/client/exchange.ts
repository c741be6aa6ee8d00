/** Answers of every form over a real socket: ours must be read as node:http reads them, whether we read them or it does. */
import { request as httpRequest } from 'node:http'
import t from 'tap'
import { failureOf } from '../../src/client/failure.js'
import { readPlainAnswer } from '../../src/client/plain-answer.js'
import { createTransport, type SocketRequest } from '../../src/client/transport.js'
import { type Answer, startRawDaemon } from '../fixtures/raw-daemon.js'
import { createRandom, mutate } from '../fuzz/fixtures/fuzz.js'

type Outcome =
  | {
      readonly status: number
      readonly etag: string | undefined
      readonly notice?: string
      readonly text: string
    }
  | { readonly lost: string }

/** For what never comes; all else has the time that a busy machine takes. */
const SILENCE_MS = 300
const PATIENCE_MS = 60_000

async function send(socket: string, request: Partial<SocketRequest> = {}): Promise<Outcome> {
  const transport = createTransport({ candidates: [socket], userAgent: 'prefect-auth/0.1.0 test' })
  try {
    return await transport.send({ method: 'GET', path: '/x', timeoutMs: PATIENCE_MS, ...request })
  } catch (error) {
    return { lost: failureOf(error)?.detail ?? String(error) }
  }
}

/** The same by node:http alone. */
function sendByNode(socketPath: string, timeoutMs: number): Promise<Outcome> {
  return new Promise((resolve) => {
    const lose = (error: Error) => {
      clearTimeout(timer)
      const code = 'code' in error ? String(error.code) : error.message
      resolve({ lost: code === 'SILENT' ? SILENCE : `lost the connection to the daemon: ${code}` })
    }
    const sent = httpRequest({ socketPath, path: '/x', agent: false, headers: { host: 'authd' } })
    const timer = setTimeout(() => {
      lose(Object.assign(new Error(), { code: 'SILENT' }))
      sent.destroy()
    }, timeoutMs)
    sent.on('error', lose)
    sent.on('response', async (message) => {
      // Then its body says what came of it.
      sent.off('error', lose).on('error', () => undefined)
      let text = ''
      try {
        for await (const chunk of message.setEncoding('utf8')) text += chunk
      } catch (error) {
        return lose(error instanceof Error ? error : new Error(String(error)))
      }
      clearTimeout(timer)
      const { etag, 'prefect-auth-notice': notice } = message.headers
      resolve({
        status: message.statusCode ?? 0,
        ...{ etag, text },
        ...(typeof notice === 'string' && { notice }),
      })
    })
    sent.end()
  })
}

const SILENCE = 'the daemon did not respond within 0 s'
const OURS = [
  'HTTP/1.1 200 OK\r\ncache-control: no-store\r\netag: "cloud-1"\r\n',
  'content-type: application/json; charset=utf-8\r\ncontent-length: 9\r\n',
  'Date: Fri, 27 Nov 2026 23:58:53 GMT\r\nConnection: close\r\n\r\n',
].join('')
const CHUNKED = OURS.replace('content-length: 9', 'transfer-encoding: chunked')
const WITH = (header: string) => OURS.replace('cache-control: no-store', header)
const BODY = '{"ü":12}'
const bytes = (text: string) => Buffer.from(text, 'utf8')

/** `isOurs`: whether we read it ourselves. */
const TABLE: readonly {
  readonly name: string
  readonly pieces: readonly (string | Buffer)[]
  readonly end?: Answer['end']
  readonly isOurs?: true
  /** The answer never comes to its end. */
  readonly isSilent?: true
}[] = [
  { name: 'as the daemon sends it', pieces: [OURS + BODY], isOurs: true },
  { name: 'and keeps the connection', pieces: [OURS.replace('close', 'keep-alive') + BODY], end: 'stay' },
  {
    name: 'the body in pieces',
    pieces: [OURS, BODY.slice(0, 1), BODY.slice(1, 5), BODY.slice(5)],
    isOurs: true,
  },
  {
    name: 'a character cut in two',
    pieces: [bytes(OURS + BODY).subarray(0, -6), bytes(BODY).subarray(-6)],
    isOurs: true,
  },
  { name: 'a head in pieces', pieces: [OURS.slice(0, 40), OURS.slice(40) + BODY] },
  { name: 'a head byte by byte', pieces: [...OURS.slice(0, 20), OURS.slice(20) + BODY] },
  { name: 'a body cut short', pieces: [OURS + BODY.slice(0, 3)] },
  { name: 'a body that stops', pieces: [OURS + BODY.slice(0, 3)], end: 'stay', isSilent: true },
  { name: 'a head cut short', pieces: [OURS.slice(0, 60)] },
  { name: 'a head that stops', pieces: [OURS.slice(0, 60)], end: 'stay', isSilent: true },
  { name: 'nothing', pieces: [] },
  { name: 'silence', pieces: [], end: 'stay', isSilent: true },
  { name: 'more than it says', pieces: [`${OURS}${BODY}GET / HTTP/1.1\r\n\r\n`] },
  { name: 'another answer after it', pieces: [`${OURS}${BODY}${OURS}${BODY}`] },
  {
    name: 'chunks',
    pieces: [`${CHUNKED}4\r\n{"a"\r\n`, '3\r\n:1}\r\n0\r\n\r\n'],
  },
  {
    name: 'chunks that stop',
    pieces: [`${CHUNKED}4\r\n{"a"\r\n`],
    end: 'stay',
    isSilent: true,
  },
  {
    name: 'chunks of a bad length',
    pieces: [`${CHUNKED}zz\r\n{"a"\r\n`],
  },
  { name: 'chunks and a length', pieces: [`${WITH('transfer-encoding: chunked')}0\r\n\r\n`] },
  { name: 'no length', pieces: [OURS.replace('content-length: 9\r\n', '') + BODY] },
  { name: 'two lengths', pieces: [WITH('content-length: 9') + BODY] },
  { name: 'two lengths that differ', pieces: [WITH('content-length: 3') + BODY] },
  { name: 'a length of two', pieces: [OURS.replace(': 9', ': 9, 9') + BODY] },
  { name: 'a length with a sign', pieces: [OURS.replace(': 9', ': +9') + BODY] },
  { name: 'a length with zeros', pieces: [OURS.replace(': 9', ': 009') + BODY] },
  { name: 'a length below zero', pieces: [OURS.replace(': 9', ': -9') + BODY] },
  { name: 'a length beyond all numbers', pieces: [OURS.replace(': 9', ': 99999999999999999999') + BODY] },
  { name: 'a length of 0', pieces: [OURS.replace(': 9', ': 0')], isOurs: true },
  { name: 'a header twice', pieces: [WITH('etag: "other"') + BODY] },
  { name: 'a notice', pieces: [WITH('prefect-auth-notice: mind the gap') + BODY], isOurs: true },
  { name: 'a notice twice', pieces: [WITH('prefect-auth-notice: a\r\nprefect-auth-notice: b') + BODY] },
  {
    name: 'a notice of other bytes',
    pieces: [Buffer.from(`${WITH('prefect-auth-notice: \xfc')}123456789`, 'latin1')],
  },
  { name: 'a header without a value', pieces: [WITH('x:') + BODY] },
  { name: 'a header without a space', pieces: [WITH('x:y') + BODY] },
  { name: 'a header with a tab', pieces: [WITH('x:\ty') + BODY] },
  { name: 'a header in two lines', pieces: [WITH('x: y\r\n z') + BODY] },
  { name: 'a header without a colon', pieces: [WITH('x') + BODY] },
  { name: 'a space before the colon', pieces: [WITH('x : y') + BODY] },
  { name: 'a header with a zero byte', pieces: [WITH('x: \0') + BODY] },
  { name: 'a bare line feed', pieces: [WITH('x: y\nz: 1') + BODY] },
  { name: 'line feeds alone', pieces: [OURS.replaceAll('\r\n', '\n') + BODY] },
  { name: 'more than a head may have', pieces: [WITH(`x: ${'y'.repeat(20_000)}`) + BODY] },
  { name: 'a problem', pieces: [OURS.replace('200 OK', '404 Not Found') + BODY], isOurs: true },
  { name: 'no reason', pieces: [OURS.replace('200 OK', '200 ') + BODY], isOurs: true },
  { name: 'no reason and no space', pieces: [OURS.replace('200 OK', '200') + BODY] },
  { name: 'nothing changed', pieces: [OURS.replace('200 OK', '304 Not Modified')] },
  { name: 'no content', pieces: [OURS.replace('200 OK', '204 No Content')] },
  { name: 'a hint before it', pieces: [`HTTP/1.1 103 Early Hints\r\n\r\n${OURS}${BODY}`] },
  { name: 'a continue before it', pieces: ['HTTP/1.1 100 Continue\r\n\r\n', OURS + BODY] },
  {
    name: 'another protocol',
    pieces: ['HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'],
    isSilent: true,
  },
  { name: 'an offer of another protocol', pieces: [WITH('upgrade: x') + BODY] },
  { name: 'another version', pieces: [OURS.replace('1.1', '1.0') + BODY] },
  { name: 'a version to come', pieces: [OURS.replace('1.1', '2.0') + BODY] },
  { name: 'a status of four', pieces: [OURS.replace('200', '2000') + BODY] },
  { name: 'a space before it', pieces: [` ${OURS}${BODY}`] },
  { name: 'a line before it', pieces: [`\r\n${OURS}${BODY}`] },
  { name: 'no HTTP', pieces: ['SSH-2.0-OpenSSH_9.2\r\n'], end: 'stay' },
  { name: 'no HTTP at all', pieces: [Buffer.from([0, 255, 13, 10, 13, 10, 0])], end: 'stay' },
]

t.test('reads every answer as node:http does, and itself those of the daemon alone', async (t) => {
  const server = await startRawDaemon(t)
  for (const { name, pieces, end = 'close', isOurs, isSilent } of TABLE) {
    server.answer = { pieces, end }
    const timeoutMs = isSilent ? SILENCE_MS : PATIENCE_MS
    const [ours, theirs] = await Promise.all([
      send(server.socket, { timeoutMs }),
      sendByNode(server.socket, timeoutMs),
    ])
    t.equal('lost' in ours && ours.lost === SILENCE, isSilent === true, name)
    t.same(ours, theirs, name)
    const whole = Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? bytes(piece) : piece)))
    if (isOurs) t.match(readPlainAnswer(whole), { kind: 'whole' }, `${name}: read here`)
  }
})

t.test('reads what is changed at random as node:http does', async (t) => {
  const server = await startRawDaemon(t)
  let read = 0
  for (let seed = 1; seed <= 250; seed += 1) {
    const random = createRandom(seed)
    const header = random.pick([
      'x: y',
      'transfer-encoding: chunked',
      'content-length: 2',
      'connection: x',
      'etag: a',
    ])
    const answer = mutate(random, bytes(random.pick([OURS, WITH(header)]) + BODY))
    const cut = random.below(answer.length)
    server.answer = {
      pieces: random.once(2) ? [answer] : [answer.subarray(0, cut), answer.subarray(cut)],
      end: 'close',
    }
    const [ours, theirs] = await Promise.all([send(server.socket), sendByNode(server.socket, PATIENCE_MS)])
    if (readPlainAnswer(answer).kind === 'whole') read += 1
    if (JSON.stringify(ours) !== JSON.stringify(theirs)) t.same(ours, theirs, `seed ${seed}`)
  }
  t.ok(read > 20 && read < 200, `${read} were read here`)
})

t.test('sends a request once, however the answer looks', async (t) => {
  const server = await startRawDaemon(t)
  const length = Buffer.byteLength('{"name":"ü"}')
  for (const { name, pieces, isSilent } of TABLE) {
    server.received.length = 0
    server.answer = { pieces, end: 'close' }
    const timeoutMs = isSilent ? SILENCE_MS : PATIENCE_MS
    await send(server.socket, { method: 'POST', path: '/v1/env?a=b', body: { name: 'ü' }, timeoutMs })
    t.match(
      server.received.join(''),
      new RegExp(
        `^POST /v1/env\\?a=b HTTP/1\\.1\r\nhost: authd\r\n(?:[a-z-]+: [^\r\n]+\r\n)*content-length: ${length}\r\nconnection: close\r\n\r\n[^\r\n]+$`,
      ),
      name,
    )
    t.equal(server.received.join('').split('POST ').length, 2, name)
  }
})

t.test('sends nothing that could be two requests', async (t) => {
  const server = await startRawDaemon(t)
  server.answer = { pieces: [OURS + BODY], end: 'close' }
  for (const request of [
    { path: '/x HTTP/1.1\r\nhost: b' },
    { path: '/ü' },
    { path: '/x\ny' },
    { headers: { x: 'a\r\nb: c' } },
    { headers: { x: '☃' } },
    { headers: { 'x\r\n': 'a' } },
  ])
    t.match(await send(server.socket, request), { lost: /cannot be written/ }, JSON.stringify(request))
  t.same(server.received, [])
})

t.test('reads answers of every size whole', async (t) => {
  const server = await startRawDaemon(t)
  for (const size of [1, 65_536, 1024 * 1024, 1024 * 1024 + 1, 3_000_000]) {
    const text = 'ü'.repeat(Math.ceil(size / 2))
    const head = OURS.replace(': 9', `: ${Buffer.byteLength(text)}`)
    server.answer = { pieces: [head, bytes(text)], end: 'stay' }
    const outcome = await send(server.socket, { timeoutMs: 60_000 })
    t.ok('text' in outcome && outcome.text === text, `${size}`)
  }
})
