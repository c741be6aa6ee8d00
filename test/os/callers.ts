/** Who is at the other end of a connection, over real sockets and real processes. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createConnection, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createFindCaller, parseLsof, parseTcpPeer, parseUnixPeer } from '../../src/os/callers.js'
import { findExecutable } from '../../src/os/run-program.js'
import { systemClock } from '../../src/std/clock.js'

const hasSs =
  process.platform === 'linux' &&
  (await findExecutable(['/usr/bin/ss', '/bin/ss', '/usr/sbin/ss'])) !== undefined
const skip = hasSs ? false : 'there is no ss here'

function addressOf(server: Server): AddressInfo {
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('no address')
  return address
}

const find = createFindCaller({ clock: systemClock(), platform: 'linux' })

t.test('names the program at the other end, its pid and its parents', { skip }, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'pab-'))
  const server = createServer()
  t.teardown(async () => {
    server.close()
    await rm(directory, { recursive: true })
  })
  for (const place of [join(directory, 's'), 0]) {
    if (typeof place === 'number') server.close()
    const listening = typeof place === 'string' ? server.listen(place) : createServer().listen(0, '127.0.0.1')
    await once(listening, 'listening')
    const address = listening.address()
    const target =
      typeof address === 'object' && address !== null ? String(address.port) : JSON.stringify(place)
    const child = spawn(process.execPath, ['-e', `require('net').connect(${target}).resume()`])
    const [socket]: Socket[] = await once(listening, 'connection')
    if (socket === undefined) throw new Error('no connection')
    const parts = ((await find(socket)) ?? '').split(' < ')
    t.match(parts[0], new RegExp(`\\[${child.pid}\\]$`), `over ${target}`)
    t.match(parts[1], new RegExp(`\\[${process.pid}\\]$`), 'and who started it')
    socket.destroy()
    listening.close()
    child.kill()
    await once(child, 'close')
  }
})

t.test('asks outside the sandbox, if who answers there is ours', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'pab-'))
  const helper = join(directory, 'callers.sock')
  const listening = createServer().listen(0, '127.0.0.1')
  await once(listening, 'listening')
  const client = createConnection(addressOf(listening).port, '127.0.0.1')
  const [socket]: Socket[] = await once(listening, 'connection')
  if (socket === undefined) throw new Error('no connection')
  const { localPort = 0, remotePort = 0 } = socket
  const row = `tcp ESTAB 0 0 127.0.0.1:${remotePort} 127.0.0.1:${localPort} uid:4711 ino:1\n`
  let asked = 0
  const unit = createServer((one) => {
    asked += 1
    one.end(row)
  }).listen(helper)
  await once(unit, 'listening')
  t.teardown(async () => {
    client.destroy()
    socket.destroy()
    listening.close()
    unit.close()
    await rm(directory, { recursive: true, force: true })
  })
  const uid = process.getuid?.() ?? 0
  const linux = { clock: systemClock(), platform: 'linux' } as const
  t.equal(await createFindCaller({ ...linux, helper, uid })(socket), 'user 4711')
  t.not(await createFindCaller({ ...linux, helper, uid: uid + 1 })(socket), 'user 4711', "another user's")
  t.equal(asked, 1)
})

t.test('reads the tables of ss and lsof', async (t) => {
  const unix = [
    'u_str ESTAB 0 0 /run/x y/authd.sock 20 * 21 users:(("node",pid=7,fd=3)) <-> ino:1 dev:0/2',
    'u_str ESTAB 0 0 * 21 * 20 users:(("",pid=9,fd=1))",pid=8,fd=5)) <->',
    'u_str ESTAB 0 0 /run/a 30 * 0',
    'u_str LISTEN 0 0 /tmp/* 1 * 20 users:(("sshd",pid=1,fd=1)) 50 * 0',
    'u_str ESTAB 0 0 * 22 * 40',
    'u_str ESTAB 0 0 /tmp/name of two lines',
    'u_str ESTAB 0 0 * 23 * 41 users:(("sshd",pid=1,fd=1)) 60 * 61',
    'u_str ESTAB 0 0 * 42 * 41 users:(("curl",pid=2,fd=1)) <->',
  ].join('\n')
  t.match(
    parseUnixPeer(unix, '20'),
    { pid: 8 },
    'not what a program puts into its name, or that of its socket',
  )
  t.equal(parseUnixPeer(unix, '30'), undefined, 'without netlink no peer is told')
  t.strictSame(parseUnixPeer(unix, '40'), {}, 'of another user not even the number')
  t.equal(parseUnixPeer(unix, '41'), undefined, 'what two claim belongs to neither')
  t.equal(parseUnixPeer('', '20'), undefined)
  const tcp = [
    'tcp ESTAB 0 0 127.0.0.1:4280 127.0.0.1:40000 users:(("node",pid=7,fd=3)) uid:1000 ino:1 sk:1',
    'tcp ESTAB 0 0 127.0.0.1:40000 127.0.0.1:4280 users:(("curl",pid=8,fd=5)) uid:1000 ino:2 sk:2',
    'tcp CLOSE-WAIT 0 0 [::ffff:127.0.0.1]:40001 [::ffff:127.0.0.1]:4280 uid:1001 ino:3 sk:3',
    'u_str ESTAB 0 0 /tmp/x:40002 y:4280 users:(("sshd",pid=1,fd=1)) uid:0 50 * 51',
    'tcp ESTAB 0 0 127.0.0.1:40003 127.0.0.1:4280 uid:1001 ino:4 sk:4',
    'tcp ESTAB 0 0 127.0.0.1:40003 127.0.0.1:4280 users:(("sshd",pid=1,fd=1)) uid:0',
  ].join('\n')
  t.strictSame(parseTcpPeer(tcp, 4280, 40_000), { uid: 1000, pid: 8 })
  t.strictSame(parseTcpPeer(tcp, 4280, 40_001), { uid: 1001 }, 'of another user only the number')
  t.equal(parseTcpPeer(tcp, 4280, 40_002), undefined, 'the name of a socket')
  t.equal(parseTcpPeer(tcp, 4280, 40_003), undefined, 'what two claim belongs to neither')
  const lsof = 'p7\nf3\nn127.0.0.1:4280->127.0.0.1:40000\np8\nf5\nn127.0.0.1:40000->127.0.0.1:4280\n'
  t.strictSame(parseLsof(lsof, 40_000), { pid: 8 })
})
