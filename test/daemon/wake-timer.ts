import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createWakeTimer, readNextElapse } from '../../src/daemon/wake-timer.js'
import { systemClock } from '../../src/std/clock.js'

const ACTIVE = 'NextElapseUSecRealtime=Fri 2026-11-20 23:02:02 UTC\nActiveState=active\n'
const exited = (stdout: string, code = 0) => ({ kind: 'exited', code, stdout, stderr: '' }) as const

t.test('reads a time from what systemctl says, or nothing', async (t) => {
  t.equal(readNextElapse(exited(ACTIVE)), Date.UTC(2026, 10, 20, 23, 2, 2))
  for (const [name, result] of [
    ['a timer that was stopped', exited(ACTIVE.replace('=active', '=inactive'))],
    ['one that will not elapse', exited('NextElapseUSecRealtime=\nActiveState=active\n')],
    ['another language or zone', exited(ACTIVE.replace('UTC', 'CET'))],
    ['no manager', exited(ACTIVE, 1)],
    ['no answer', { kind: 'timed_out' }],
    ['no systemctl', { kind: 'not_started', reason: 'ENOENT' }],
  ] as const) {
    t.equal(readNextElapse(result), undefined, name)
  }
})

function program(t: Test, script: string): string {
  const path = join(t.testdir(), 'systemctl')
  writeFileSync(path, `#!/bin/sh\n${script}\n`)
  chmodSync(path, 0o755)
  return path
}

t.test(
  'runs systemctl in a fixed language and time zone, with the session and no other variables',
  async (t) => {
    const systemctl = program(
      t,
      `[ "$TZ$LC_ALL$XDG_RUNTIME_DIR$SECRET" = UTCC/run/user/1 ] || exit 1
     [ "$*" = '--user show prefect-authd.timer -p ActiveState -p NextElapseUSecRealtime' ] || exit 1
     printf 'ActiveState=active\\nNextElapseUSecRealtime=Fri 2026-11-20 23:00:00 UTC\\n'`,
    )
    const env = { XDG_RUNTIME_DIR: '/run/user/1', SECRET: 'x', TZ: 'CET' }
    const ask = createWakeTimer({ env, clock: systemClock(), programs: ['/nonexistent', systemctl] })
    t.equal(await ask(), Date.UTC(2026, 10, 20, 23))
    t.equal(await createWakeTimer({ env, clock: systemClock(), programs: ['/nonexistent'] })(), undefined)
  },
)
