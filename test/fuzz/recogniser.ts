/** What the recogniser takes, Node's own parser reads in the same way: the same request, and nothing left over. */
import type { IncomingMessage } from 'node:http'
import { Duplex } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { type Recognised, recognise } from '../../src/http/lane/recogniser.js'
import { createDoorServer } from '../../src/http/server.js'
import { fuzz, type Random } from './fixtures/fuzz.js'
import { anyRequest } from './fixtures/heads.js'

/** Inputs of one round, and of one turn of the event loop. */
const ROUND = 64
const TURN = 16
/** What one parser reads before there is a new one: what an input leaves behind shows in the next. */
const INPUTS_OF_A_PARSER = 400

interface Read {
  readonly request: IncomingMessage
  readonly body: Buffer
  readonly keepsAlive: boolean
}

/** The parser of a real listener, on a connection that is none. */
function openParser() {
  let heard: { readonly request: IncomingMessage; readonly keepsAlive: boolean }[] = []
  let flaw: unknown
  let inputs = 0
  const server = createDoorServer(
    'socket',
    (request, response) => {
      heard.push({ request, keepsAlive: response.shouldKeepAlive })
      response.end()
    },
    { keepsOwnTime: () => true },
  )
  server.removeAllListeners('clientError')
  server.on('clientError', (error) => {
    flaw = error
  })
  for (const event of ['upgrade', 'connect', 'checkContinue', 'checkExpectation']) {
    server.on(event, () => {
      flaw = new Error(event)
    })
  }
  const connection = new Duplex({
    read: () => undefined,
    write: (_bytes, _encoding, done) => done(),
  })
  server.emit('connection', connection)
  return {
    isFresh: () => inputs < INPUTS_OF_A_PARSER && flaw === undefined && !connection.destroyed,
    close() {
      connection.destroy()
    },
    /** What it makes of the bytes, at once. */
    read(bytes: Buffer): readonly Read[] {
      inputs += 1
      heard = []
      connection.push(bytes)
      if (flaw !== undefined) throw new Error(`Node refuses it: ${String(flaw)}`)
      return heard.map(({ request, keepsAlive }) => {
        if (!request.complete) throw new Error('Node waits for more')
        const body: unknown = request.read()
        request.resume()
        return { request, keepsAlive, body: Buffer.isBuffer(body) ? body : Buffer.alloc(0) }
      })
    },
  }
}

/** A parser that is ready for an input: the one there is, as long as it will do. */
function createReader() {
  let parser: ReturnType<typeof openParser> | undefined
  return {
    async ready() {
      if (parser?.isFresh()) return parser
      parser?.close()
      parser = openParser()
      // The connection flows from the next turn on.
      await turn()
      return parser
    },
    close: () => parser?.close(),
  }
}

const NEXT = Buffer.from('GET /next HTTP/1.1\r\nHost: next\r\n\r\n')

/** Throws if Node reads the request in another way. `whole`: with its body, and nothing after that. */
function compare(parser: ReturnType<typeof openParser>, whole: Buffer, taken: Recognised): void {
  const [read, ...others] = parser.read(whole)
  if (read === undefined || others.length > 0)
    throw new Error(`Node reads ${others.length + 1} requests, or none`)
  const { request, body, keepsAlive } = read
  const theirs = {
    ...{ method: request.method, url: request.url, rawHeaders: request.rawHeaders, headers: request.headers },
    ...{ trailers: request.rawTrailers, version: request.httpVersion, keepsAlive, body },
  }
  const ours = {
    ...{ method: taken.method, url: taken.url, rawHeaders: taken.rawHeaders, headers: taken.headers },
    ...{ trailers: [], version: '1.1', keepsAlive: taken.keepsAlive, body: whole.subarray(taken.headLength) },
  }
  if (!isDeepStrictEqual(theirs, ours)) {
    throw new Error(`Node reads ${JSON.stringify(theirs)}, we read ${JSON.stringify(ours)}`)
  }
  if (!keepsAlive) parser.close()
  else if (parser.read(NEXT)[0]?.request.url !== '/next') throw new Error('something is left over')
}

/** As the lane gets it when the rest comes later: nothing is taken before its head is whole, and more bytes change nothing. */
function compareCut(random: Random, whole: Buffer, taken: Recognised): void {
  const cut = random.below(whole.length)
  const part = recognise(whole.subarray(0, cut))
  if (cut < taken.headLength ? part !== undefined : !isDeepStrictEqual(part, taken)) {
    throw new Error(`the first ${cut} bytes are read in another way`)
  }
}

t.test('takes only what Node takes, and reads it in the same way', async (t) => {
  const reader = createReader()
  t.teardown(reader.close)
  let inputs = 0
  let taken = 0
  await fuzz(t, async (random) => {
    for (let left = ROUND; left > 0; left -= 1) {
      if (left % TURN === 0) await turn()
      const bytes = anyRequest(random)
      inputs += 1
      const recognised = recognise(bytes)
      if (recognised === undefined) continue
      taken += 1
      const { headLength, bodyLength } = recognised
      const missing = Math.max(0, headLength + bodyLength - bytes.length)
      const whole = Buffer.concat([
        bytes.subarray(0, headLength + bodyLength),
        Buffer.alloc(missing, '\r\nx'),
      ])
      try {
        compare(await reader.ready(), whole, recognised)
        compareCut(random, whole, recognised)
      } catch (error) {
        throw new Error(`${JSON.stringify(bytes.toString('latin1'))}: ${String(error)}`)
      }
    }
  })
  t.comment(`${taken} of ${inputs} inputs taken`)
  t.ok(taken > inputs / 3, 'a third of them and more')
  t.ok(taken < inputs * 0.9, 'and not those that are odd')
})
