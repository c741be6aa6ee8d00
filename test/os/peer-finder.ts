/** Which process has a connection, and what is above it: over real sockets and real processes. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { answerPeerQuestion, createFindPeer, createLook } from '../../src/os/peer-finder.js'
import { findExecutable } from '../../src/os/run-program.js'
import { systemClock } from '../../src/std/clock.js'

const hasSs =
  process.platform === 'linux' &&
  (await findExecutable(['/usr/bin/ss', '/bin/ss', '/usr/sbin/ss'])) !== undefined
const skip = hasSs ? false : 'there is no ss here'
const clock = systemClock()
const find = createFindPeer({ clock, platform: 'linux' })

function directory(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'pab-peer-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

async function listen(t: Test, place: string | 0): Promise<Server> {
  const server = createServer()
  if (place === 0) server.listen(0, '127.0.0.1')
  else server.listen(place)
  await once(server, 'listening')
  t.after(() => void server.close())
  return server
}

function start(
  t: Test,
  file: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): ChildProcess {
  const child = spawn(file, args, { env, stdio: 'ignore' })
  t.after(() => void child.kill('SIGKILL'))
  return child
}

async function connection(server: Server): Promise<Socket> {
  const [socket]: Socket[] = await once(server, 'connection')
  if (socket === undefined) throw new Error('no connection')
  return socket
}

const CONNECT = 'const s = require("net").connect(eval(process.argv[1])); s.resume()'

for (const place of ['unix', 'tcp']) {
  t.test(`over ${place}: the process, every ancestor, and whether it is of a job`, { skip }, async (t) => {
    const server = await listen(t, place === 'tcp' ? 0 : join(directory(t), 's'))
    const address = server.address()
    const target = typeof address === 'object' && address !== null ? address.port : JSON.stringify(address)
    const env = { ...process.env, PREFECT_AUTH_JOB: 'abc' }
    const child = start(t, process.execPath, ['-e', CONNECT, String(target)], env)
    const socket = await connection(server)
    const peer = await find(socket)
    const [self, parent] = peer?.chain ?? []
    t.match(self, { pid: child.pid, parent: process.pid, name: 'node', job: 'abc', isTraced: false })
    t.equal(self?.uid, process.getuid?.())
    t.equal(self?.hasPlainArguments, false)
    t.equal(parent?.pid, process.pid)
    t.equal(parent?.job, undefined)
    t.equal(peer?.chain.at(-1)?.parent, 0, 'up to the first process')
    t.ok((self?.startedAt ?? 0) >= (parent?.startedAt ?? Number.POSITIVE_INFINITY))
    t.ok((peer?.seenAt ?? 0) >= (self?.startedAt ?? Number.POSITIVE_INFINITY))
    t.match(peer?.shown, `node[${child.pid}] < node[${process.pid}]`)
    t.strictSame(
      (await createLook({ clock, platform: 'linux' })({ pid: child.pid ?? 0 }))?.chain,
      peer?.chain,
    )
    socket.destroy()
  })
}

t.test('a connection that two processes share belongs to none', { skip }, async (t) => {
  const server = await listen(t, join(directory(t), 's'))
  const script = `const s = require("net").connect(${JSON.stringify(server.address())}, () => {
    require("child_process").spawn("sleep", ["60"], { stdio: [s, "ignore", "ignore"] })
  }); s.resume(); process.on("exit", () => 0)`
  start(t, process.execPath, ['-e', script])
  const socket = await connection(server)
  let shown = ''
  while (!shown.startsWith('several')) shown = (await find(socket))?.shown ?? ''
  t.strictSame((await find(socket))?.chain, [])
  socket.destroy()
})

t.test('a process that has ended is nobody', { skip }, async (t) => {
  const server = await listen(t, join(directory(t), 's'))
  const child = start(t, process.execPath, ['-e', CONNECT, JSON.stringify(server.address())])
  const socket = await connection(server)
  child.kill('SIGKILL')
  await once(child, 'close')
  t.strictSame((await find(socket))?.chain, [])
  t.strictSame((await createLook({ clock, platform: 'linux' })({ pid: child.pid ?? 0 }))?.chain, [])
})

t.test(
  'asks the helper, if it is ours, and looks itself if that says nothing of use',
  { skip },
  async (t) => {
    const dir = directory(t)
    const server = await listen(t, join(dir, 's'))
    const child = start(t, process.execPath, ['-e', CONNECT, JSON.stringify(server.address())])
    const socket = await connection(server)
    const helper = join(dir, 'peers.sock')
    let answer = `${JSON.stringify({ seenAt: 7, chain: [], shown: 'of the helper' })}\n`
    const asked: string[] = []
    const unit = await listen(t, helper)
    unit.on('connection', (one) =>
      one.once('data', (text) => {
        asked.push(String(text))
        one.end(answer)
      }),
    )
    const uid = process.getuid?.() ?? 0
    const linux = { clock, platform: 'linux', helper } as const
    t.equal((await createFindPeer({ ...linux, uid })(socket))?.shown, 'of the helper')
    t.match(asked[0], /^\{"inode":"\d+"\}\n$/)
    answer = 'nonsense'
    t.equal((await createFindPeer({ ...linux, uid })(socket))?.chain[0]?.pid, child.pid)
    t.equal(
      (await createFindPeer({ ...linux, uid: uid + 1 })(socket))?.chain[0]?.pid,
      child.pid,
      "another user's",
    )
    t.equal(asked.length, 2)
    socket.destroy()
  },
)

t.test('the helper answers no other questions', async (t) => {
  for (const line of ['', '{}', '{"pid":"1"}', '{"inode":"../x"}', '{"pid":1,"more":2}', 'x'.repeat(10_000)])
    t.equal(await answerPeerQuestion(line, clock), '{}\n', line.slice(0, 20))
})

t.test('other systems tell nothing', async (t) => {
  t.equal(await createLook({ clock, platform: 'darwin' })({ pid: process.pid }), undefined)
})
