/** What Prefect says to the auth message of a WebSocket: a refusal of our key is ours to mend, everything else is the client's. */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import type { WebSocket } from 'ws'
import { BrokerError } from '../../src/base/errors.js'
import { openRaw, REAL_KEY, serveCloud, startProxy, startUpstream } from '../fixtures/proxy-under-test.js'
import { handshakeText, maskedFrame } from './fixtures/frame-disguises.js'
import { auth, openSocket, said, startPrefect } from './fixtures/prefect-sockets.js'

/** How the token is shown: in the first message alone, or in the handshake as well. */
const WAYS = ['message', 'handshake'] as const

async function setStage(t: Test, refuse: (socket: WebSocket, text: string) => boolean) {
  const { url, heard } = await startPrefect(t, { onMessage: refuse })
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const connect = async (way: (typeof WAYS)[number]) => {
    const socket = openSocket(t, proxy.tcp, `${proxy.base}/events/out`, {
      protocols: ['prefect'],
      ...(way === 'handshake' ? { token } : {}),
    })
    await once(socket, 'open')
    socket.send(auth(token))
    return socket
  }
  return { url, heard, proxy, connect }
}

async function endOf(socket: WebSocket): Promise<readonly [code: number, reason: string]> {
  const [code, reason] = await once(socket, 'close')
  return [code, String(reason)]
}

t.test(
  'a refusal of our key starts a renewal and ends with a code after which clients come back',
  async (t) => {
    for (const way of WAYS) {
      const { url, heard, proxy, connect } = await setStage(t, (socket, text) => {
        if (!text.includes(REAL_KEY)) return false
        socket.close(1008, way === 'message' ? 'Invalid token' : 'authentication_failed')
        return true
      })
      proxy.whenRejected(() => serveCloud(proxy.broker, url, 'pnu_newer'))
      t.strictSame(await endOf(await connect(way)), [1011, 'key_rejected'], way)
      t.equal(proxy.rejections.length, 1, 'the key is asked about')
      t.equal(proxy.app.proxyTraffic()[0]?.parked, 1, 'and the client counts as parked')
      t.equal(await said(await connect(way)), '{"type":"auth_success"}', 'the next attempt has the newer key')
      t.equal(heard.at(-1)?.messages[0], auth('pnu_newer'))
    }
  },
)

t.test(
  'the client waits until the renewal is over, and is told so even if there is no key left',
  async (t) => {
    const { proxy, connect } = await setStage(t, (socket) => {
      socket.close(1008, 'Invalid token')
      return true
    })
    proxy.whenRejected(() => proxy.broker.refuse('cloud', new BrokerError('login_required', 'no key')))
    t.strictSame(await endOf(await connect('message')), [1011, 'login_required'])
  },
)

t.test('every other end is passed on as it is', async (t) => {
  const ends: readonly (readonly [code: number, reason: string, isAfterSuccess: boolean])[] = [
    [1008, 'authorization_failed', false],
    [1008, 'unsupported_version', false],
    [1008, "Expected 'auth' message", false],
    [1008, 'Invalid token', true],
    [1008, '', true],
    [1011, 'restart', false],
    [1002, 'protocol_error', false],
    [4001, 'enough', false],
  ]
  for (const [code, reason, isAfterSuccess] of ends) {
    for (const way of WAYS) {
      const { proxy, connect } = await setStage(t, (socket) => {
        if (isAfterSuccess) socket.send('{"type":"auth_success"}')
        socket.close(code, reason)
        return true
      })
      t.strictSame(await endOf(await connect(way)), [code, reason], `${code} ${reason} ${way}`)
      t.strictSame(proxy.rejections, [])
    }
  }
})

t.test('a socket without an auth message is told what Prefect says', async (t) => {
  const { url } = await startPrefect(t, { onSocket: (socket) => socket.close(1008, 'Invalid token') })
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const socket = openSocket(t, proxy.tcp, `${proxy.base}/events/in`, { token })
  t.strictSame(await endOf(socket), [1008, 'Invalid token'])
  t.strictSame(proxy.rejections, [])
})

t.test('the refusal is found however it arrives, and what comes before it is passed on', async (t) => {
  const accepted =
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
    'Sec-WebSocket-Protocol: prefect\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n'
  const refusal = Buffer.concat([
    Buffer.from([0x89, 2, 0x68, 0x69]),
    Buffer.from([0x88, 15, 0x03, 0xf0]),
    Buffer.from('Invalid token'),
  ])
  for (let cut = 0; cut < refusal.length; cut += 1) {
    const { url, server } = await startUpstream(t, (_request, response) => response.end())
    server.on('upgrade', (_request, socket) => {
      socket.on('error', () => undefined).write(accepted)
      socket.once('data', async () => {
        socket.write(refusal.subarray(0, cut))
        await new Promise((resolve) => setTimeout(resolve, 5))
        socket.write(refusal.subarray(cut))
      })
    })
    const proxy = await startProxy(t, url)
    const token = await proxy.broker.token('proxy', ['cloud'])
    const raw = openRaw(t, proxy.tcp)
    raw.say(handshakeText(proxy.tcp.port, `${proxy.base}/events/out`))
    await raw.hear(/\r\n\r\n/)
    raw.say(maskedFrame(0x81, Buffer.from(auth(token))))
    const heard = await raw.hear(/key_rejected/)
    t.equal(
      heard.slice(heard.indexOf('\r\n\r\n') + 4),
      '\x89\x02hi\x88\x0e\x03\xf3key_rejected',
      `cut at ${cut}`,
    )
    raw.socket.destroy()
  }
})
