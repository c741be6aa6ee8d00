/** Random and broken answers of Prefect Cloud, to every call: only a well-formed one of Prefect's own decides anything. */

import { once } from 'node:events'
import { createServer } from 'node:http'
import { deflateSync, gzipSync } from 'node:zlib'
import t from 'tap'
import { BrokerError, type ErrorCode } from '../../src/base/errors.js'
import type { AccountApi } from '../../src/prefect/account.js'
import type { CloudApi } from '../../src/prefect/cloud.js'
import { createCloudHttp } from '../../src/prefect/open-cloud.js'
import { systemClock } from '../../src/std/clock.js'
import { keepingLog, TEST_KEY, TEST_USER_ID, target } from '../fixtures/cloud-client.js'
import { portOf } from '../fixtures/proxy-under-test.js'
import { createRandom, fuzz, mutate, type Random } from './fixtures/fuzz.js'
import { damagedRecord } from './fixtures/json.js'
import { startFuzzedUpstream } from './fixtures/talk.js'

const MINTED = 'pnu_mintedinthisroundandnevertobeprinted0'
const ID = '33333333-3333-3333-3333-333333333333'
const DATE = 'Sun, 06 Nov 1994 08:49:37 GMT'
const KEY = { id: ID, name: 'k', created: '2026-01-01T00:00:00Z', expiration: '2026-02-01T00:00:00+00:00' }

type Cloud = CloudApi & AccountApi
type Target = ReturnType<typeof target>

interface Call {
  readonly run: (cloud: Cloud, to: Target) => Promise<unknown>
  /** The answer that Prefect gives. */
  readonly good: unknown
  readonly status: number
  readonly isPost?: boolean
}

const later = { oldKeyLivesMs: 1000, expiresAt: Date.parse('2026-02-01T00:00:00Z') }
const CALLS: Readonly<Record<string, Call>> = {
  me: {
    run: (cloud, to) => cloud.me(to),
    status: 200,
    good: { id: ID, handle: 'ada', email: 'ada@example.com' },
  },
  workspaces: {
    run: (cloud, to) => cloud.workspaces(to),
    status: 200,
    good: [{ account_id: ID, account_handle: 'a', workspace_id: ID, workspace_handle: 'w' }],
  },
  createKey: {
    run: (cloud, to) => cloud.createKey(to, TEST_USER_ID, { name: 'k', expiresAt: later.expiresAt }),
    ...{ status: 201, good: { ...KEY, key: MINTED }, isPost: true },
  },
  readKey: { run: (cloud, to) => cloud.readKey(to, TEST_USER_ID, ID), status: 200, good: KEY },
  listKeys: { run: (cloud, to) => cloud.listKeys(to, TEST_USER_ID), status: 200, good: [KEY] },
  deleteKey: { run: (cloud, to) => cloud.deleteKey(to, TEST_USER_ID, ID), status: 204, good: null },
  serviceAccounts: {
    run: (cloud, to) => cloud.serviceAccounts(to, ID, 'bot'),
    ...{ status: 200, good: [{ id: ID, name: 'bot', api_key: KEY }], isPost: true },
  },
  memberRole: {
    run: (cloud, to) => cloud.memberRole(to, ID, { userId: TEST_USER_ID, email: 'ada@example.com' }),
    ...{ status: 200, good: [{ user_id: TEST_USER_ID, account_role_name: 'Admin' }], isPost: true },
  },
  rotate: {
    run: (cloud, to) => cloud.rotateServiceAccountKey(to, ID, ID, later),
    ...{ status: 200, good: { api_key: { ...KEY, key: MINTED } }, isPost: true },
  },
}

/** What the server says, as far as anybody may believe it. */
interface Said {
  readonly status: number
  readonly isJson: boolean
  readonly isGood: boolean
  readonly hasDetail: boolean
  /** Nothing is known of bytes that were changed at random. */
  readonly isMangled: boolean
  readonly bytes: Buffer
}

const STATUSES = [
  200, 200, 201, 204, 202, 206, 301, 307, 400, 401, 401, 403, 404, 404, 405, 408, 422, 429, 500, 502, 503,
  599,
]
const TYPES = [
  'application/json',
  'application/json; charset=utf-8',
  'application/problem+json',
  'text/html',
  'text/plain',
  'application/jsonx',
  '',
]
const ODD_HEADERS = [
  ...[
    'Retry-After: 0',
    'Retry-After: 99999999999999999999',
    'Retry-After: -1',
    'Date: x',
    'Set-Cookie: a=b',
    'Trailer: x',
  ],
  ...['Link: <x>', 'X: \x80\x81', 'Connection: close, x', 'Upgrade: h2c'],
]

function someAnswer(random: Random, { good, status: right }: Call, elsewhere: string): Said {
  const status = random.once(2) ? right : random.pick(STATUSES)
  const detail = {
    detail: random.pick<unknown>([
      `no ${TEST_KEY}`,
      [{ loc: ['body'], msg: 'x', input: TEST_KEY }],
      { message: 'x' },
      '',
    ]),
  }
  const value = random.pick<unknown>([
    good,
    good,
    damagedRecord(random, good),
    detail,
    { exception_message: 'x' },
    null,
    1,
    [],
    {},
  ])
  const text = random.once(8)
    ? random.pick(['', '<!doctype html>', '{"id":', 'null', '\ufeff{}', TEST_KEY])
    : (JSON.stringify(value) ?? '')
  const type = random.once(3) ? random.pick(TYPES) : 'application/json'
  const packed = random.once(10) ? random.pick([gzipSync, deflateSync])(text) : Buffer.from(text)
  const isPacked = packed.toString() !== text
  const heads = Array.from({ length: random.once(3) ? random.below(3) : 0 }, () => random.pick(ODD_HEADERS))
  if (type !== '') heads.unshift(`Content-Type: ${type}`)
  if (isPacked) heads.push('Content-Encoding: gzip')
  if (status >= 300 && status < 400) heads.push(`Location: ${elsewhere}`)
  const framing = random.pick(['length', 'length', 'chunked', 'close'])
  if (framing === 'length') heads.push(`Content-Length: ${packed.length}`)
  if (framing === 'chunked') heads.push('Transfer-Encoding: chunked')
  const chunk = packed.length === 0 ? '' : `${packed.length.toString(16)}\r\n`
  const body =
    framing === 'chunked'
      ? Buffer.concat([
          Buffer.from(chunk),
          packed,
          Buffer.from(chunk === '' ? '' : '\r\n'),
          Buffer.from('0\r\n\r\n'),
        ])
      : packed
  const head = `HTTP/1.1 ${status} X\r\nDate: ${DATE}\r\n${heads.map((line) => `${line}\r\n`).join('')}\r\n`
  const whole = Buffer.concat([Buffer.from(head, 'latin1'), status === 204 ? Buffer.alloc(0) : body])
  const isMangled = random.once(4)
  return {
    status,
    isJson: /^application\/(?:problem\+)?json(?:;|$)/.test(type) && !isPacked && isJsonText(text),
    isGood: value === good && text === JSON.stringify(good),
    hasDetail:
      value === detail || (value !== null && typeof value === 'object' && 'exception_message' in value),
    isMangled,
    bytes: isMangled ? mutate(random, whole) : whole,
  }
}

function isJsonText(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

const CODES: readonly ErrorCode[] = [
  ...([
    'key_rejected',
    'prefect_forbidden',
    'prefect_not_found',
    'prefect_rate_limited',
    'prefect_failed',
  ] as const),
  ...(['prefect_refused', 'prefect_unexpected', 'prefect_unreachable'] as const),
]

t.test('believes nobody but Prefect, sends a POST once, and prints no key', async (t) => {
  const foreign = createServer((_request, response) => response.end('{}')).listen(0, '127.0.0.1')
  await once(foreign, 'listening')
  t.teardown(() => foreign.close())
  let redirected = 0
  foreign.on('request', () => {
    redirected += 1
  })
  const elsewhere = `http://127.0.0.1:${portOf(foreign)}/api`
  let random = createRandom(0)
  let said: readonly Said[] = []
  let heard = 0
  let call: Call = CALLS.me ?? fail('no call')
  const url = await startFuzzedUpstream(t, (socket, bytes) => {
    if (!/^(?:GET|POST|DELETE) /.test(bytes.toString('latin1'))) return
    heard += 1
    const answer = someAnswer(random, call, elsewhere)
    said = [...said, answer]
    const cut = random.once(4) ? random.below(answer.bytes.length + 1) : answer.bytes.length
    socket.write(answer.bytes.subarray(0, cut))
    if (cut < answer.bytes.length && random.once(2)) return void socket.resetAndDestroy()
    if (random.once(30)) return
    setImmediate(() => socket.end(answer.bytes.subarray(cut)))
  })
  const dates: number[] = []
  const { log, lines } = keepingLog()
  const cloud = createCloudHttp({
    clock: systemClock(),
    random: () => 0,
    timeouts: { connectMs: 500, headersMs: 150, bodyMs: 150, totalMs: 400 },
    ...{ log, tls: {}, proxy: {}, userAgent: 'x', onServerDate: (_url, at) => void dates.push(at) },
  })
  t.teardown(() => cloud.close())
  const to = target(Number(new URL(url).port))
  await fuzz(t, async (now) => {
    random = now
    const name = random.pick(Object.keys(CALLS))
    call = CALLS[name] ?? fail(name)
    said = []
    heard = 0
    lines.length = 0
    dates.length = 0
    const outcome = await call.run(cloud, to).then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    )
    const last = said.at(-1)
    const complain = (what: string) =>
      new Error(
        `${name}: ${what}: ${JSON.stringify(outcome).slice(0, 300)} of ${last?.bytes.toString('latin1').slice(0, 500)}`,
      )
    const printed = 'error' in outcome ? wordsOf(outcome.error) : JSON.stringify(outcome.value ?? '')
    for (const key of [TEST_KEY, MINTED]) {
      if (printed.includes(key) || lines.join().includes(key)) throw complain('a key was printed')
    }
    if (call.isPost === true && heard > 1) throw complain('a POST was sent twice')
    if (redirected > 0) throw complain('a redirect was followed')
    if (last === undefined || said.some(({ isMangled }) => isMangled)) return
    if (dates.length > 0 && !said.some(isPrefects)) throw complain('a stranger told the time')
    const isOwn = last.isJson && last.hasDetail
    if ('value' in outcome) {
      const isAnswer =
        last.status >= 200 && last.status < 300 && (name === 'deleteKey' ? last.status === 204 : last.isJson)
      const isRefusal =
        isOwn && [404, 405].includes(last.status) && ['readKey', 'listKeys', 'deleteKey'].includes(name)
      if (!isAnswer && !isRefusal) throw complain('an answer that is none was believed')
      if (isRefusal && outcome.value !== undefined && outcome.value !== 'already_gone')
        throw complain('a refusal became a value')
      return
    }
    const { error } = outcome
    if (!(error instanceof BrokerError) || !CODES.includes(error.code)) throw error
    if (error.code === 'key_rejected' && !(last.status === 401 && isOwn))
      throw complain('a stranger rejected the key')
    if (error.code === 'prefect_forbidden' && !(last.status === 403 && isOwn))
      throw complain('a stranger forbade it')
    if (error.code === 'prefect_not_found' && !(last.status === 404 && isOwn))
      throw complain('a stranger did not find it')
  })

  function isPrefects({ status, isJson, isGood, hasDetail }: Said): boolean {
    return status === 204 || (isJson && (hasDetail || isGood || status < 300))
  }
})

function wordsOf(error: unknown): string {
  return error instanceof BrokerError
    ? `${error.message} ${error.hint} ${String(error.cause)}`
    : String(error)
}

function fail(what: string): never {
  throw new Error(what)
}
