// The proxy beside every other one, in front of one upstream over TLS, as Prefect is in life (upstream.go): CPU of all threads.
import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { cpuOf, isQuick, MB, note, ROUNDS, WARM_UP_S } from './lib.mjs'
import { startProxies } from './proxies.mjs'
import { postLoad, startOurs, startUpstream } from './proxy-parts.mjs'

const agent = new Agent({ keepAlive: true, maxSockets: 32 })

/** One exchange; resolves with how many bytes came. */
function exchange({ base, token }, { path, method = 'POST', body, upload = 0 }) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    if (method === 'POST') headers['content-length'] = upload > 0 ? upload : Buffer.byteLength(body)
    const call = request(`${base}${path}`, { agent, method, headers }, (response) => {
      let bytes = 0
      response.on('data', (chunk) => {
        bytes += chunk.length
      })
      response.on('error', reject)
      response.on('end', () => {
        if (response.statusCode === 200) resolve(bytes)
        else reject(new Error(`${response.statusCode} at ${path}`))
      })
    })
    call.on('error', reject)
    if (upload === 0) return void call.end(body)
    const chunk = Buffer.alloc(65_536, 'x')
    let left = upload
    const more = () => {
      while (left > 0) {
        const part = left < chunk.length ? chunk.subarray(0, left) : chunk
        left -= part.length
        if (!call.write(part) && left > 0) return void call.once('drain', more)
      }
      call.end()
    }
    more()
  })
}

const down = (target, bytes) => exchange(target, { path: `/blob?bytes=${bytes}`, method: 'GET' })
const up = (target, bytes) => exchange(target, { path: '/blob', upload: bytes })

/** CPU microseconds per MB for `count` transfers of 10 MB, after a first one. */
async function perMegabyte(target, transfer, count) {
  await transfer(target, 10 * MB)
  const before = cpuOf(target.pid)
  for (let at = 0; at < count; at += 1) await transfer(target, 10 * MB)
  return (cpuOf(target.pid) - before) / (count * 10)
}

/** CPU microseconds per message with 100 sockets, each of which waits for its echo; a message counts once a direction. */
async function perMessage({ pid, base, token }, rounds) {
  const text = JSON.stringify({ type: 'event', event: 'x'.repeat(400) })
  const sockets = await Promise.all(
    Array.from({ length: 100 }, async () => {
      const socket = new WebSocket(`${base.replace('http:', 'ws:')}/events/in`, 'prefect', {
        headers: { authorization: `Bearer ${token}` },
        perMessageDeflate: false,
      })
      await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
      const echoed = new Promise((resolve) => socket.once('message', resolve))
      socket.send(JSON.stringify({ type: 'auth', token }))
      await echoed
      return socket
    }),
  )
  const before = cpuOf(pid)
  await Promise.all(
    sockets.map(async (socket) => {
      for (let at = 0; at < rounds; at += 1) {
        const echoed = new Promise((resolve) => socket.once('message', resolve))
        socket.send(text)
        await echoed
      }
    }),
  )
  const used = cpuOf(pid) - before
  for (const socket of sockets) socket.terminate()
  return used / (100 * rounds * 2)
}

/** The programs that have a compiler that is still at work at first. */
const COMPILING = ['ours', 'reply-from', 'http-proxy']

/** Every proxy in turn, the others in another order each round: whoever comes after a heavy one has a warmer machine. */
export async function measureProxied(samples) {
  const upstream = await startUpstream()
  const targets = [await startOurs(upstream), ...(await startProxies(upstream))]
  try {
    for (const target of targets) postLoad(target, COMPILING.includes(target.name) ? WARM_UP_S : 1)
    for (let round = 0; round < ROUNDS; round += 1) {
      const order = targets.map((_, at) => targets[(at + round * 3) % targets.length])
      for (const target of order) await measureOne(target, samples)
    }
  } finally {
    agent.destroy()
  }
}

async function measureOne(target, samples) {
  // Since its last turn it was idle: V8 has dropped compiled code by then, and needs some seconds to have it again.
  postLoad(target, isQuick ? 1 : 3)
  const { rate, cpu } = postLoad(target, isQuick ? 1 : 2)
  // While the load ran, nothing here was heard, not even that a server has closed an idle connection.
  await sleep(50)
  const transfers = isQuick ? 3 : 10
  note(samples, 'post', target.name, cpu)
  note(samples, 'rate', target.name, rate)
  note(samples, 'down', target.name, await perMegabyte(target, down, transfers))
  note(samples, 'up', target.name, await perMegabyte(target, up, transfers))
  if (target.name !== 'reply-from') {
    await perMessage(target, isQuick ? 5 : 30)
    note(samples, 'message', target.name, await perMessage(target, isQuick ? 10 : 60))
  }
}
