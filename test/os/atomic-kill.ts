/** A writer that is killed at any moment. */
import { fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

t.test('killed while writing, leaves the old or the new content', async (t) => {
  const dir = t.testdir({ x: `0\n${'0'.repeat(200_000)}` })
  const path = join(dir, 'x')
  const writer = new URL('./fixtures/atomic-writer.ts', import.meta.url).pathname
  let last = 0
  for (let round = 0; round < 12; round += 1) {
    const child = fork(writer, [path, String(last)], { execArgv: ['--import=tsx'], stdio: 'ignore' })
    // Told before each write and after it: what is on the disk must be one of the last two.
    const told = { begun: last, done: last }
    await new Promise<void>((resolve) => {
      child.on('message', (message: { begun?: number; done?: number }) => {
        Object.assign(told, message)
        if ((message.done ?? 0) > last + 2 + (round % 5)) setTimeout(() => child.kill('SIGKILL'), round % 4)
      })
      child.on('exit', () => resolve())
    })
    const content = readFileSync(path, 'utf8')
    const [number = '', rest = ''] = content.split('\n')
    t.equal(rest, number.slice(-1).repeat(200_000), `round ${round}: whole`)
    t.ok(
      Number(number) >= told.done && Number(number) <= told.begun + 1,
      `round ${round}: nothing that was done is undone`,
    )
    last = Number(number)
  }
})
