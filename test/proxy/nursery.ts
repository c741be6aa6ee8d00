/** The garbage of large bodies: how much of it there is at once. */
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import t from 'tap'
import { createSweep } from '../../src/proxy/nursery.js'
import { startProxy, startUpstream } from '../fixtures/proxy-under-test.js'

const MB = 1024 * 1024
const PIECE = 64 * 1024

/** The most that all buffers together had, seen after each of many pieces that are dropped at once. */
function mostOf(sweep: (bytes: number) => void, pieces = 1024): number {
  const before = process.memoryUsage().arrayBuffers
  let most = 0
  for (let piece = 0; piece < pieces; piece += 1) {
    sweep(Buffer.alloc(PIECE).length)
    most = Math.max(most, process.memoryUsage().arrayBuffers - before)
  }
  return most
}

t.test('buffers that nobody holds are freed after a few megabytes, not after many', async (t) => {
  const swept = mostOf(createSweep())
  t.ok(swept < 16 * MB, `${swept / MB}; without it 32`)
})

t.test('the collector is nobody’s global', async (t) => {
  mostOf(createSweep(), 128)
  t.notOk('gc' in globalThis)
})

t.test('an upload leaves few of its pieces in memory', async (t) => {
  const before = process.memoryUsage().arrayBuffers
  let most = 0
  let came = 0
  const { url } = await startUpstream(t, (request, response) => {
    request.on('data', (chunk: Buffer) => {
      came += chunk.length
      most = Math.max(most, process.memoryUsage().arrayBuffers - before)
    })
    request.on('end', () => response.end('{}'))
  })
  const proxy = await startProxy(t, url)
  const seen: number[] = []
  // Twice: V8 may be in the middle of looking through the whole heap once.
  for (const _ of [1, 2]) {
    most = 0
    t.equal(await upload(proxy, 64 * MB), 200)
    seen.push(most)
  }
  t.equal(came, 128 * MB)
  t.ok(Math.min(...seen) < 24 * MB, `${seen.map((bytes) => bytes / MB)}; without sweeps 32 or more`)
})

t.test('so does a download', async (t) => {
  const piece = Buffer.alloc(PIECE)
  const { url } = await startUpstream(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 64 * MB })
    let left = 64 * MB
    const more = () => {
      for (; left > 0; left -= PIECE) {
        if (response.write(piece)) continue
        left -= PIECE
        return void response.once('drain', more)
      }
      response.end()
    }
    more()
  })
  const proxy = await startProxy(t, url)
  const before = process.memoryUsage().arrayBuffers
  const seen: number[] = []
  for (const _ of [1, 2]) {
    const call = httpRequest({
      ...proxy.socket,
      path: `${proxy.base}/logs/`,
      headers: { host: 'authd' },
    }).end()
    const [response] = await once(call, 'response')
    let most = 0
    let came = 0
    response.on('data', (chunk: Buffer) => {
      came += chunk.length
      most = Math.max(most, process.memoryUsage().arrayBuffers - before)
    })
    await once(response, 'end')
    t.equal(came, 64 * MB)
    seen.push(most)
  }
  t.ok(Math.min(...seen) < 24 * MB, `${seen.map((bytes) => bytes / MB)}`)
})

async function upload({ socket, base }: Awaited<ReturnType<typeof startProxy>>, length: number) {
  const headers = { host: 'authd', 'content-length': length }
  const call = httpRequest({ ...socket, path: `${base}/logs/`, method: 'POST', headers })
  const answered = once(call, 'response')
  const piece = Buffer.alloc(PIECE)
  for (let sent = 0; sent < length; sent += PIECE) if (!call.write(piece)) await once(call, 'drain')
  call.end()
  const [response] = await answered
  response.resume()
  return response.statusCode
}
