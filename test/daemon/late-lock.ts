/** The state lock on a disk that is read-only at the start: nothing is written before it is held. */

import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { takeLateLock } from '../../src/daemon/late-lock.js'
import { openState } from '../../src/daemon/state.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { onSmallDisk, whyNoSmallDisk } from '../fixtures/small-disk.js'

const clock = systemClock()
let ids = 0
const takeLock = (stateDir: string) => {
  ids += 1
  return takeLateLock({ stateDir, clock, newId: () => `id${ids}` })
}
const remount = (disk: string, how: 'ro' | 'rw') => execFileSync('mount', ['-o', `remount,${how}`, disk])
const profile = (generation: number) => ({
  profiles: { a: { workspaces: [], generation, digest: '' } },
  keys: {},
})

async function openOn(stateDir: string) {
  const lock = await takeLock(stateDir)
  return { lock, state: await openState({ stateDir, clock, log: silentLog(), lock }) }
}

t.test(
  'taken as soon as the disk allows; then what memory has is written',
  { skip: whyNoSmallDisk() },
  async (t) => {
    await onSmallDisk(async (disk) => {
      const stateDir = join(disk, 'state')
      mkdirSync(stateDir, { mode: 0o700 })
      remount(disk, 'ro')
      const { lock, state } = await openOn(stateDir)
      t.throws(() => lock.permit(), { code: 'disk_failed', message: /read-only file system/, hint: /./ })
      t.equal(await state.ledger.note(() => profile(1)), false)
      await state.retry()
      t.match(state.trouble(), { message: /read-only/ })
      const told: unknown[] = []
      state.onTrouble((trouble) => told.push(trouble?.code))

      remount(disk, 'rw')
      await state.retry()
      t.equal(state.trouble(), undefined)
      t.strictSame(told, ['disk_failed', undefined])
      t.match(JSON.parse(readFileSync(join(stateDir, 'ledger.json'), 'utf8')), profile(1))
      await t.rejects(takeLock(stateDir), { code: 'already_running' }, 'it is held')
      await state.close()
      await lock.release()
    })
  },
)

t.test('never writes over what another daemon wrote before', { skip: whyNoSmallDisk() }, async (t) => {
  await onSmallDisk(async (disk) => {
    const stateDir = join(disk, 'state')
    mkdirSync(stateDir, { mode: 0o700 })
    remount(disk, 'ro')
    const late = await openOn(stateDir)
    await late.state.ledger.note(() => profile(1))
    remount(disk, 'rw')
    const other = await openOn(stateDir)
    await other.state.ledger.update(() => profile(7))
    await other.state.close()
    await other.lock.release()

    await late.state.retry()
    t.match(late.state.trouble(), {
      message: /another prefect-authd has changed it/,
      hint: 'restart prefect-authd',
    })
    t.match(late.state.ledger.read(), profile(1), 'what it serves stays')
    await t.rejects(late.state.ledger.update(() => profile(2)))
    await late.state.close()
    t.match(JSON.parse(readFileSync(join(stateDir, 'ledger.json'), 'utf8')), profile(7))
    await late.lock.release()
  })
})
