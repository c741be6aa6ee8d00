/** The log: lines as promised, levels that change, and no secret whichever way it comes. */
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { openLog } from '../../src/daemon/open-log.js'
import { Secret } from '../../src/std/secret.js'

const KEY = `pnu_${'a1B2'.repeat(9)}`
const TOKEN = `pab_${'x-_9'.repeat(10)}abc`

function keep(level: 'debug' | 'info' | 'warn' | 'error' = 'debug') {
  const lines: string[] = []
  return { lines, log: openLog({ level, destination: { write: (line) => lines.push(line) } }) }
}

t.test('a line is one JSON object with time, level, facts and a constant message', async (t) => {
  const { lines, log } = keep()
  log
    .child({ part: 'cloud' })
    .warn({ profile: 'a\nb', count: 3n, at: new Date(0), nothing: null }, 'it happened')
  t.equal(lines.length, 1)
  t.equal(lines[0]?.indexOf('\n'), (lines[0]?.length ?? 0) - 1)
  const { time, ...rest } = JSON.parse(lines[0] ?? '')
  t.match(time, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
  t.strictSame(rest, {
    level: 'warn',
    part: 'cloud',
    profile: 'a\nb',
    count: '3',
    at: '1970-01-01T00:00:00.000Z',
    nothing: null,
    msg: 'it happened',
  })
})

t.test('changes the level at run time, for existing children too', async (t) => {
  const { lines, log } = keep('info')
  const child = log.child({ part: 'x' })
  child.debug({}, 'unheard')
  log.setLevel('debug')
  child.debug({}, 'heard')
  log.setLevel('error')
  child.warn({}, 'unheard')
  child.error({}, 'loud')
  t.equal(log.level(), 'error')
  t.strictSame(
    lines.map((line) => JSON.parse(line).msg),
    ['heard', 'loud'],
  )
})

t.test('logs a whole error, with causes and parts, without secrets', async (t) => {
  const { lines, log } = keep()
  const root = Object.assign(new Error(`refused ${KEY}`), { syscall: 'connect', path: `/x?key=${KEY}` })
  const cause = new AggregateError([root], 'all failed')
  log.error({ error: new BrokerError('prefect_unreachable', 'no answer', { hint: 'wait', cause }) }, 'broken')
  t.match(JSON.parse(lines[0] ?? '').error, {
    type: 'BrokerError',
    message: 'no answer',
    code: 'prefect_unreachable',
    hint: 'wait',
    stack: /open-log/,
    cause: { type: 'AggregateError', errors: [{ message: 'refused [secret]', syscall: 'connect' }] },
  })
  t.notMatch(lines.join(), KEY)
})

const loop: Record<string, unknown> = { name: 'loop' }
loop.self = loop

const LEAKS: readonly (readonly [name: string, facts: Record<string, unknown>, secret: string])[] = [
  ['a Secret', { value: new Secret('hunter2-of-any-shape') }, 'hunter2'],
  ['a key in a text', { text: `x\n${KEY}` }, KEY],
  ['a token deep inside', { a: [{ b: { c: TOKEN } }] }, TOKEN],
  ['a key as the name of a field', { [KEY]: 1 }, KEY],
  ['a value under the name of a secret', { headers: { Authorization: 'Bearer hunter2' } }, 'hunter2'],
  ['a value under another such name', { body: { api_key: 'hunter2', 'set-cookie': ['hunter2'] } }, 'hunter2'],
  ['an auth string', { env: { PREFECT_API_AUTH_STRING: 'admin:hunter2' } }, 'hunter2'],
  ['bytes', { body: Buffer.from(KEY) }, '"Buffer"'],
  ['a map', { map: new Map([['k', 'hunter2']]) }, 'hunter2'],
  ['a URL with a password', { url: new URL('http://u:hunter2@proxy/') }, 'hunter2'],
  ['a callback URL', { url: '/?key=hunter2hunter2' }, 'hunter2'],
]

for (const [name, facts, secret] of LEAKS) {
  t.test(`${name} does not get into a line, nor into a child's facts`, async (t) => {
    const { lines, log } = keep()
    log.info(facts, 'x')
    log.child(facts).info({}, 'x')
    t.equal(lines.length, 2)
    t.notMatch(lines.join(), secret)
  })
}

t.test('removes a key from the message itself', async (t) => {
  const { lines, log } = keep()
  log.info({}, `got ${KEY}`)
  t.match(lines[0], 'got [secret]')
})

t.test('survives facts that cannot be printed', async (t) => {
  const { lines, log } = keep()
  const nasty = {
    loop,
    get thrower() {
      throw new Error('no')
    },
    call: () => 1,
    huge: 'y'.repeat(100_000),
    many: Array.from({ length: 10_000 }, (_, index) => index),
  }
  log.info(nasty, 'odd')
  const line = JSON.parse(lines[0] ?? '')
  t.equal(line.thrower, '[unreadable]')
  t.equal(line.many.length, 100)
  t.equal(line.huge.length, 10_001)
})

t.test('a file is made 0600 and appended to; a closed log is silent', async (t) => {
  const path = join(t.testdir({}), 'log.jsonl')
  for (const name of ['first', 'second']) {
    const log = openLog({ level: 'info', destination: path })
    log.info({}, name)
    log.close()
    log.close()
    log.info({}, 'too late')
  }
  t.equal(statSync(path).mode & 0o777, 0o600)
  const lines = readFileSync(path, 'utf8').trim().split('\n')
  t.strictSame(
    lines.map((line) => JSON.parse(line).msg),
    ['first', 'second'],
  )
})

t.test('survives a full disk', async (t) => {
  const log = openLog({ level: 'info', destination: '/dev/full' })
  t.doesNotThrow(() => {
    for (let count = 0; count < 10; count += 1) log.error({ count }, 'lost')
  })
  await new Promise((resolve) => setTimeout(resolve, 50))
})
