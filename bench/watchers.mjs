// How long a change of the key takes from the first of 1000 watchers to the last, beside a C loop of 1000 writes.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  ask,
  atEnd,
  compile,
  home,
  median,
  medianRatio,
  memory,
  row,
  socket,
  startDaemon,
  stop,
  writeProfile,
} from './lib.mjs'

const WATCHERS = 1_000
const FIRES = 20

export async function measureWatchers() {
  const { pid } = await startDaemon()
  const program = compile('watch')
  const loop = join(home, 'loop.sock')
  const server = spawn(program, ['serve', loop], { stdio: 'inherit' })
  atEnd(() => stop(server))
  await sleep(200)
  const before = memory(pid)
  const ours = await watch(program, socket)
  const theirs = await watch(program, loop)
  const seen = { ours: [], theirs: [] }
  const per = ((memory(pid).privateDirty - before.privateDirty) * 1024) / WATCHERS
  for (let fire = 0; fire < FIRES; fire += 1) {
    seen.ours.push(await ours.fire(async () => writeProfile('abcdefghij'[fire % 10])))
    seen.theirs.push(await theirs.fire(() => ask(loop, '/fire')))
    // The daemon looks at the profile file again a moment after each change.
    await sleep(1_000)
  }
  ours.end()
  theirs.end()
  row(
    `a new key to ${WATCHERS} watchers, first to last, ms`,
    (median(seen.ours) / 1000).toFixed(1),
    `C loop ${(median(seen.theirs) / 1000).toFixed(1)}`,
    medianRatio(seen.ours, seen.theirs),
    '≤ 2.0x',
  )
  row('memory of a watcher, kB private', per.toFixed(0), '–', undefined, '≤ 40')
}

async function watch(program, path) {
  const child = spawn(program, [path, String(WATCHERS), String(FIRES), 'credentials.changed'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
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
