/**
 * A token that may not see Secret blocks never does: all that it may ask of real Prefect servers, and whatever it tries, through the
 * shipped proxy. The same requests with a token that may do everything show that the secrets are there to be had.
 */
import { request } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { OPERATIONS } from '../../src/policy/operations.js'
import { defined } from '../../src/std/defined.js'
import type { PolicyName } from '../../src/wire/kinds.js'
import { ask as askApi } from '../fixtures/api-under-test.js'
import {
  findPrefect,
  type PrefectClient,
  prefectEnv,
  QUIET,
  runPrefect,
  runPython,
  startPrefectServer,
} from '../fixtures/real-prefect.js'
import { startShipped } from '../fixtures/shipped.js'

t.setTimeout(600_000)

/** In every value that is secret, and nowhere else. */
const CLEAR = 'in-the-clear'
/** A Secret block, a block that has another one and one of its own in it, and a dictionary of secrets. */
const SAVE = `import sys
from prefect.blocks.core import Block
from prefect.blocks.fields import SecretDict
from prefect.blocks.system import Secret

class Holder(Block):
    named: Secret
    own: Secret
    headers: SecretDict

secret = sys.argv[1]
print("ID", Secret(value=secret).save("mine"))
print("ID", Holder(named=Secret.load("mine"), own=Secret(value=secret), headers={"a": secret}).save("holder"))
`
const NAMED = '/block_types/slug/secret/block_documents'

for (const which of ['3', '2'] as const) {
  t.test(`Prefect ${which}`, { timeout: 400_000 }, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return
    const stage = await setStage(t, prefect)
    const all = await stage.token('all')
    const read = await stage.token('read')
    const run = await stage.token('run')
    await t.test('every operation that reads', async (t) => {
      const leaking = new Set<string>()
      const { length } = OPERATIONS.reads
      for (const operation of OPERATIONS.reads.filter(isNoStream)) {
        for (const asked of questions(operation, stage.ids)) {
          if ((await all.ask(asked)).text.includes(CLEAR)) leaking.add(operation)
          const { text } = await read.ask(asked)
          t.notMatch(text, CLEAR, `${asked.method} ${asked.path}`)
          if (!LEAKING.includes(operation)) continue
          const answer = await run.ask(asked)
          t.equal(answer.status, 200, `${asked.method} ${asked.path}: as for a token that may run`)
          t.notMatch(answer.text, CLEAR)
        }
      }
      t.same([...leaking].sort(), LEAKING, `of ${length} operations these show secrets if they may`)
    })
    await t.test('whatever is tried', async (t) => {
      for (const [what, asked, isLeaking] of attacks(stage.ids[0] ?? '')) {
        const open = await all.ask(asked)
        if (isLeaking) t.match(open.text, CLEAR, `${what}: it is answered with secrets`)
        const { status, text } = await read.ask(asked)
        t.notMatch(text, CLEAR, what)
        t.ok([200, 400, 403, 404, 405, 422].includes(status), `${what}: ${status} ${text.slice(0, 300)}`)
      }
    })
    await t.test('what is no secret is there, and the command line works', async (t) => {
      const { status, text } = await read.ask({
        method: 'GET',
        path: `${NAMED}/name/mine?include_secrets=true`,
      })
      t.equal(status, 200)
      t.match(JSON.parse(text), { name: 'mine', data: { value: /^\*+$/ } })
      for (const args of [
        ['block', 'ls'],
        ['block', 'inspect', 'secret/mine'],
      ]) {
        const ran = await runPrefect(prefect, args, { home: stage.home, env: read.env })
        t.equal(ran.code, 0, `${args.join(' ')}: ${ran.output}`)
        t.notMatch(ran.output, CLEAR)
        t.match(ran.output, 'mine')
      }
      const load = 'from prefect.blocks.system import Secret; print(Secret.load("mine").get())'
      const loaded = await runPython(prefect, ['-c', load], { home: stage.home, env: read.env })
      t.match(loaded.output, '****')
      t.notMatch(loaded.output, CLEAR)
    })
  })
}

const LEAKING = [
  'GET /block_documents/{id}',
  'GET /block_types/slug/{slug}/block_documents',
  'GET /block_types/slug/{slug}/block_documents/name/{block_document_name}',
  'POST /block_documents/filter',
]

interface Asked {
  readonly method: string
  /** Below the API, with its query. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  readonly body?: string | Buffer
}

function isNoStream(operation: string): boolean {
  return !operation.endsWith('/out')
}

/** An operation of the table, asked for each of the blocks and with secrets wherever they could be asked for. */
function questions(operation: string, ids: readonly string[]): readonly Asked[] {
  const [method = '', template = ''] = operation.split(' ')
  return ids.map((id, at) => {
    const names: Readonly<Record<string, string>> = {
      slug: ['secret', 'holder'][at] ?? '',
      block_document_name: ['mine', 'holder'][at] ?? '',
    }
    const path = template.replace(/\{(\w+)\}/g, (_, name: string) => names[name] ?? id)
    return { method, path: `${path}?include_secrets=true`, ...(method === 'POST' ? json(ASKING) : {}) }
  })
}

const ASKING = '{"include_secrets": true}'
const FILTER = '/block_documents/filter'

function json(body: string | Buffer, more: Readonly<Record<string, string | readonly string[]>> = {}) {
  return { body, headers: { 'content-type': 'application/json', ...more } }
}

const utf16 = (text: string) => Buffer.from(text, 'utf16le')

/** `isLeaking`: a server shows secrets if it is asked in this way. */
function attacks(id: string): readonly (readonly [what: string, asked: Asked, isLeaking: boolean])[] {
  const get = (path: string, headers = {}) => ({ method: 'GET', path, headers })
  const post = (body: string | Buffer, more = {}, path = FILTER) => ({
    method: 'POST',
    path,
    ...json(body, more),
  })
  const byId = `/block_documents/${id}`
  const upgrade = { connection: 'Upgrade', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQAAP__' }
  const socket = {
    ...{ connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' },
    'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
  }
  return [
    ['another word for true', get(`${byId}?include_secrets=YES`), true],
    ['an encoded name', get(`${byId}?include%5fsecrets=1`), true],
    ['the whole name encoded', get(`${NAMED}?%69%6e%63%6c%75%64%65%5f%73%65%63%72%65%74%73=on`), true],
    ['an encoded value', get(`${NAMED}/name/mine?include_secrets=%74rue`), true],
    ['the last of two', get(`${byId}?include_secrets=false&include_secrets=true`), true],
    ['one plain, one encoded', get(`${byId}?include_secrets=false&include%5Fsecrets=true`), true],
    ['among others', get(`${byId}?x=%zz&&include_secrets=true&include_secret=1`), true],
    ['after a semicolon', get(`${byId}?x=1;include_secrets=true`), false],
    ['in capitals', get(`${byId}?INCLUDE_SECRETS=true`), false],
    ['encoded twice', get(`${byId}?include%255Fsecrets=true`), false],
    [
      'an encoded path',
      get(`/block_documents/%${id.charCodeAt(0).toString(16)}${id.slice(1)}?include_secrets=1`),
      true,
    ],
    ['a slash more', get(`${byId}/?include_secrets=true`), true],
    ['a double slash', get(`/${byId}?include_secrets=true`), false],
    ['another API in the path', get(`/api${byId}?include_secrets=true`), false],
    ['dots', get(`/flows/../block_documents/${id}?include_secrets=true`), false],
    ['HEAD', { method: 'HEAD', path: `${byId}?include_secrets=true` }, false],
    ['OPTIONS', { method: 'OPTIONS', path: `${byId}?include_secrets=true` }, false],
    ['an upgrade to HTTP/2', get(`${byId}?include_secrets=true`, upgrade), false],
    ['a WebSocket', get(`${byId}?include_secrets=true`, socket), false],
    [
      'another method by a header',
      { ...get(`${byId}?include_secrets=true`), headers: { 'x-http-method-override': 'GET' } },
      true,
    ],
    ['another path by a header', get('/flows/', { 'x-original-url': `${byId}?include_secrets=true` }), false],
    ['a body for a GET', { ...get(byId), body: ASKING }, false],
    ['a body', post(ASKING), true],
    ['a word in a body', post('{"include_secrets": "true"}'), true],
    ['a number in a body', post('{"include_secrets": 1}'), true],
    ['escapes in a name', post('{"include\\u005fsecrets": true}'), true],
    ['the last of two in a body', post('{"include_secrets": false, "include_secrets": true}'), true],
    ['one plain, one escaped', post('{"include_secrets": false, "\\u0069nclude_secrets": true}'), true],
    ['beside what is no JSON', post('{"x": NaN, "include_secrets": true}'), true],
    ['UTF-16', post(utf16(ASKING)), true],
    ['UTF-16 with its mark', post(utf16(`\ufeff${ASKING}`)), true],
    ['UTF-16, the other way round', post(utf16(ASKING).swap16()), true],
    ['UTF-8 with its mark', post(Buffer.from(`\ufeff${ASKING}`)), true],
    [
      'half of a pair',
      post(
        Buffer.concat([
          Buffer.from('{"x": "'),
          Buffer.from([0xed, 0xa0, 0x80]),
          Buffer.from(`", ${ASKING.slice(1)}`),
        ]),
      ),
      true,
    ],
    ['another type of JSON', post(ASKING, { 'content-type': 'application/vnd.api+json' }), true],
    ['a charset', post(ASKING, { 'content-type': 'application/json; charset=utf-16' }), true],
    ['a coding that is none', post(ASKING, { 'content-encoding': 'gzip' }), true],
    ['no type', post(ASKING, { 'content-type': '' }), false],
    ['a large body', post(`{"x": "${'x'.repeat(100_000)}", "include_secrets": true}`), true],
    ['chunks', post(ASKING, { 'transfer-encoding': 'chunked' }), true],
    [
      'large chunks',
      post(`{"x": "${'x'.repeat(100_000)}", "include_secrets": true}`, { 'transfer-encoding': 'chunked' }),
      true,
    ],
    ['an object in it', post('{"block_documents": {"include_secrets": true}}'), false],
    ['a query for a body', post('{}', {}, `${FILTER}?include_secrets=true`), false],
    ['a slash after it', post(ASKING, {}, `${FILTER}/`), true],
  ]
}

async function setStage(t: Test, prefect: PrefectClient) {
  const server = await startPrefectServer(t, prefect, { ...QUIET, PREFECT_API_KEY: `pnu_${CLEAR}` })
  const broker = await startShipped(t)
  const created = await broker.cli(['profile', 'create', 'srv', '--api-url', server.apiUrl])
  t.equal(created.code, 0, created.stderr)
  const home = join(broker.home, 'work')
  const save = await runPython(prefect, ['-c', SAVE, CLEAR], {
    home: broker.home,
    env: { PREFECT_API_URL: server.apiUrl },
  })
  t.equal(save.code, 0, save.output)
  const ids = [...save.stdout.matchAll(/^ID (\S+)$/gm)].map(([, id]) => id ?? '')
  t.equal(ids.length, 2, save.output)
  const { stdout: url } = await broker.cli(['status', '--url'])
  const base = `${url.trim()}/proxy/srv/api`
  const token = async (may: PolicyName) => {
    const answer = await askApi({ socketPath: broker.socket }, '/v1/tokens', {
      method: 'POST',
      body: { name: may, may, profiles: ['srv'] },
    })
    const { token } = z.object({ token: z.string() }).parse(JSON.parse(answer.text))
    return {
      ask: (asked: Asked) => ask(base, token, asked),
      env: {
        ...prefectEnv(home),
        PREFECT_API_URL: base,
        PREFECT_API_AUTH_STRING: `prefect-auth:${token}`,
        PREFECT_API_KEY: token,
      },
    }
  }
  return { ids, token, home: broker.home }
}

/** Paths as they are, which `fetch` would tidy up. Redirects are followed. */
function ask(base: string, token: string, { method, path, headers = {}, body }: Asked) {
  const { hostname, port, pathname } = new URL(base)
  return new Promise<{ readonly status: number; readonly text: string }>((resolve, reject) => {
    const isChunked = Object.hasOwn(headers, 'transfer-encoding')
    const length =
      body === undefined || isChunked ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    const sent = request({
      ...{ hostname, port, method, path: `${pathname}${path}`, agent: false },
      headers: { authorization: `Bearer ${token}`, ...length, ...headers },
    })
    sent.on('error', reject)
    sent.on('upgrade', (_, socket) => {
      socket.destroy()
      resolve({ status: 101, text: '' })
    })
    sent.on('response', (response) => {
      const { location = '' } = response.headers
      if (location.startsWith(base)) {
        response.resume()
        const next = { method, headers, path: location.slice(base.length), ...defined({ body }) }
        return resolve(ask(base, token, next))
      }
      let text = ''
      response.setEncoding('latin1').on('data', (chunk: string) => {
        text += chunk
      })
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    sent.end(body)
  })
}
