/** The doctor's finding for a socket that no session can produce. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createConnection, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { checkSocket } from '../../src/cli/socket-here.js'

t.test('does not mistake a hanging daemon with a full queue for a dead one', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'pab-doctor-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const path = join(dir, 'authd.sock')
  const program = `require('node:net').createServer().listen({ path: ${JSON.stringify(path)}, backlog: 1 }, () => process.stdout.write('up'))`
  const daemon = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => daemon.kill('SIGKILL'))
  await once(daemon.stdout, 'data')
  await chmod(path, 0o600)
  daemon.kill('SIGSTOP')
  const waiting: Socket[] = []
  t.teardown(() => {
    for (const each of waiting) each.destroy()
  })
  for (let isFull = false; !isFull; ) {
    const socket = createConnection(path)
    waiting.push(socket)
    isFull = await new Promise((resolve) =>
      socket.on('connect', () => resolve(false)).on('error', () => resolve(true)),
    )
  }
  t.match(await checkSocket([path], process.getuid?.()), { verdict: 'ok', finding: path })
})
