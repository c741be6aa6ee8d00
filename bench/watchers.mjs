// How long a change of the key takes from the first of 1000 watchers to the last, beside a C loop of 1000 writes.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { oneProfile, startDaemon } from './daemon.mjs'
import { ask, atEnd, compile, cpuOf, home, isQuick, note, start, stop } from './lib.mjs'

const WATCHERS = 1_000
const FIRES = isQuick ? 3 : 20

export async function measureWatchers(samples) {
  const { pid, socket, writeProfiles } = await startDaemon()
  const program = compile('watch')
  const loop = join(home, 'loop.sock')
  const server = start(program, ['serve', loop])
  await sleep(200)
  const ours = await watch(program, socket)
  const theirs = await watch(program, loop)
  async function one(name, serving, watchers, trigger) {
    const before = cpuOf(serving)
    note(samples, 'watchers', name, (await watchers.fire(trigger)) / 1000)
    note(samples, 'watchers-cpu', name, (cpuOf(serving) - before) / WATCHERS)
  }
  for (let fire = 0; fire < FIRES; fire += 1) {
    const key = oneProfile('abcdefghij'[fire % 10])
    await one('ours', pid, ours, async () => writeProfiles(key))
    await one('C loop', server.pid, theirs, () => ask(loop, '/fire'))
    // The daemon looks at the profile file again a moment after each change.
    await sleep(1_000)
  }
  ours.end()
  theirs.end()
}

async function watch(program, path) {
  const child = spawn(program, [path, String(WATCHERS), String(FIRES), 'credentials.changed'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  atEnd(() => stop(child))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  await lines.next()
  return {
    /** Microseconds from the first watcher that was told to the last. */
    async fire(trigger) {
      child.stdin.write('go\n')
      await trigger()
      const { value, done } = await lines.next()
      if (done) throw new Error('a watcher was cut off')
      return Number(value.split(' ')[0])
    },
    end: () => child.kill(),
  }
}
