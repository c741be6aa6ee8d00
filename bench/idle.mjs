// What the daemon costs while nothing happens: memory a minute after its last request, and how often it wakes up.
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ask, atEnd, env, FLAGS, home, memory, row, socket, startDaemon, stop } from './lib.mjs'

const LOOK_MS = 50

export async function measureIdle() {
  const { pid } = await startDaemon()
  const bare = join(home, 'idle.mjs')
  const bareSocket = join(home, 'idle.sock')
  writeFileSync(
    bare,
    `import http from 'node:http'\nhttp.createServer((q, r) => r.end('{}')).listen('${bareSocket}')\n`,
  )
  const yardstick = spawn(process.execPath, [...FLAGS, bare], { env, stdio: 'ignore' })
  atEnd(() => stop(yardstick))
  await sleep(1_000)
  await ask(socket, '/v1/credentials')
  await ask(bareSocket)
  // What follows a start and an answer: the audit's lines are written, V8 has tidied up.
  await sleep(15_000)
  const [ours, theirs] = await Promise.all([countWakeUps(pid, 60), countWakeUps(yardstick.pid, 60)])
  const [used, floor] = [memory(pid), memory(yardstick.pid)]
  const mb = (what, name, goal) =>
    row(
      what,
      used[name].toFixed(1),
      `bare node:http ${floor[name].toFixed(1)}`,
      used[name] / floor[name],
      goal,
    )
  mb('idle for a minute, MB resident', 'rss', '≤ 56 MB')
  mb('idle for a minute, MB private dirty', 'privateDirty', '≤ 16 MB')
  row('wake-ups a minute', ours, `bare node:http ${theirs}`, undefined, '≤ 3')
}

/** A wake-up is a change of the main thread's context switches after a look that saw none. */
async function countWakeUps(pid, seconds) {
  const switches = () =>
    Number(
      /^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/task/${pid}/status`, 'utf8'))[1],
    )
  let last = switches()
  let isAwake = false
  let count = 0
  for (let look = 0; look < (seconds * 1000) / LOOK_MS; look += 1) {
    await sleep(LOOK_MS)
    const seen = switches()
    if (seen !== last && !isAwake) count += 1
    isAwake = seen !== last
    last = seen
  }
  return count
}
