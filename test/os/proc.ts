/** Processes by number and start: real ones. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { createProcessIdentifier } from '../../src/os/proc.js'
import { systemClock } from '../../src/std/clock.js'

for (const platform of ['linux', 'darwin']) {
  t.test(
    `a process keeps its identity while it runs, and nobody gets it afterwards (${platform})`,
    async (t) => {
      const identify = createProcessIdentifier({ clock: systemClock(), platform })
      const child = spawn('sleep', ['60'])
      const pid = child.pid ?? 0
      const name = await identify(pid)
      t.type(name, 'string')
      t.equal(await identify(pid), name)
      t.not(await identify(1), name)
      child.kill('SIGKILL')
      await once(child, 'exit')
      t.equal(await identify(pid), undefined)
    },
  )
}
