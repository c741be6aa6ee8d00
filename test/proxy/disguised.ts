/** A wrong token in every shape that a first message can have. */

// A naive proxy recognises only the plain shape and lets the others in under its own key.
import t from 'tap'
import { openRaw, REAL_KEY, startProxy } from '../fixtures/proxy-under-test.js'
import { disguises, handshakeText } from './fixtures/frame-disguises.js'
import { startNaiveTunnel } from './fixtures/naive-tunnel.js'
import { auth, startPrefect } from './fixtures/prefect-sockets.js'

t.test('refuses a wrong token in every shape of a first message', async (t) => {
  const { url, heard } = await startPrefect(t, { deflate: true })
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const naive = await startNaiveTunnel(t, url, { token, key: REAL_KEY })
  const knock = async (port: number, packets: readonly Buffer[]) => {
    const raw = openRaw(t, { port, host: '127.0.0.1' })
    raw.socket.setNoDelay(true)
    raw.say(handshakeText(port, `${proxy.base}/events/out`, 'permessage-deflate'))
    await raw.hear(/\r\n\r\n/)
    for (const packet of packets) {
      raw.say(packet)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
    return raw
  }
  for (const wrong of [`pab_${'x'.repeat(43)}`, REAL_KEY]) {
    for (const [name, packets] of disguises(auth(wrong))) {
      const fooled = await knock(naive, packets)
      const said = await fooled.hear(/auth_success/)
      if (name === 'whole') t.notMatch(said, /auth_success/, 'whole: the naive one sees it')
      else t.match(said, /auth_success/, `${name}: the naive one lets it in`)
      t.equal(heard.at(-1)?.authorization, `Bearer ${REAL_KEY}`, 'under its own key')
      fooled.socket.destroy()
      const dialled = heard.length

      const ours = await knock(proxy.tcp.port, packets)
      const bytes = Buffer.from(await ours.closed(), 'latin1')
      const close = bytes.subarray(bytes.lastIndexOf(0x88))
      t.equal(close.readUInt16BE(2), 1008, `${name}: ours says no`)
      t.equal(heard.length, dialled, 'and Prefect is not even dialled')
    }
  }
})
