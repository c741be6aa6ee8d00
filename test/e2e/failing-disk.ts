/** The shipped daemon on a real disk that gets full or read-only: it starts, serves, says so, and loses no key afterwards. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { makeRoot } from '../fixtures/broker.js'
import {
  buildDaemon,
  logInWithKey,
  type RunningDaemon,
  servedKey,
  startProgram,
} from '../fixtures/daemon-program.js'
import { fillDisk, makeReadOnly, onSmallDisk, whyNoSmallDisk } from '../fixtures/small-disk.js'

const skip = whyNoSmallDisk()

async function setStage(t: Test, disk: string) {
  const sim = await startCloudSimulator()
  t.after(() => sim.close())
  const root = await makeRoot(t)
  const stateDir = join(disk, 'state')
  const program = await buildDaemon(t)
  const start = async () => {
    const env = {
      PREFECT_AUTH_STATE_DIR: stateDir,
      PREFECT_AUTH_PORT: '0',
      PREFECT_AUTH_RENEWAL_RETIRE_AFTER: '7d',
    }
    const daemon = startProgram(t, { program, root, sim, env })
    await daemon.up()
    return daemon
  }
  return { sim, root, stateDir, start, profilesFile: join(root, 'profiles.toml') }
}

async function kill(daemon: RunningDaemon): Promise<void> {
  daemon.child.kill('SIGKILL')
  await daemon.ended()
}

const FAILURES: readonly (readonly [name: string, reason: RegExp, begin: (disk: string) => () => void])[] = [
  ['full', /disk full/, fillDisk],
  ['read-only', /read-only file system/, makeReadOnly],
]

for (const [name, reason, begin] of FAILURES) {
  t.test(`a state disk that is ${name} before the first hand-out`, { skip }, async (t) => {
    await onSmallDisk(async (disk) => {
      const { sim, stateDir, start, profilesFile } = await setStage(t, disk)
      mkdirSync(stateDir, { mode: 0o700 })
      const first = await start()
      t.match(await logInWithKey(first, sim.issueKey()), { state: 'stored' })
      const mend = begin(disk)
      const key = await servedKey(first)
      t.match(key, /^pnu_/, 'the key is served')

      const file = readFileSync(profilesFile, 'utf8')
      writeFileSync(
        profilesFile,
        `${file}PREFECT_CLIENT_RETRY_JITTER_FACTOR = 1\n[profiles.other]\nPREFECT_API_URL = "http://127.0.0.1:1/api"\n`,
      )
      let other = 404
      // The file is looked at once a second.
      while (other === 404) {
        t.equal(await servedKey(first), key, 'after a change of the file, too')
        other = (await first.ask('GET', '/v1/credentials?profile=other')).status
      }
      t.equal(other, 200)

      const status = await first.ask('GET', '/v1/status')
      t.match(status.text, reason, 'status says so')
      t.match((await first.ask('GET', '/readyz')).body, { ready: true, degraded: reason })
      const { checks } = (await first.ask('GET', '/v1/doctor')).body
      t.match(JSON.stringify(checks), reason, 'doctor, too')
      t.match(first.stderr(), /state file not written; will retry/)

      const job = await first.ask('POST', '/v1/env', { mode: 'proxy', format: 'json', name: 'a job' })
      t.match(job.body, { notice: /ends with the daemon/ })
      t.match(job.text, /pab_/)
      await kill(first)

      // Started on the failing disk, with what is there.
      const second = await start()
      t.equal(await servedKey(second), key)
      t.match((await second.ask('GET', '/readyz')).body, { ready: true, degraded: reason })
      await kill(second)

      mend()
      const third = await start()
      const renewed = await third.ask('POST', '/v1/keys/cloud/renew', {})
      t.match(renewed.body, { outcome: 'renewed' })
      t.not(await servedKey(third), key)
      t.match(sim.keys.find(key ?? ''), { deletedAt: undefined }, 'the key that was served was never deleted')
      await third.stop()
    })
  })
}

for (const [name, reason, begin] of FAILURES) {
  t.test(
    `started on a ${name} disk after a clean end, then killed: what it served is not deleted`,
    { skip },
    async (t) => {
      await onSmallDisk(async (disk) => {
        const { sim, stateDir, start } = await setStage(t, disk)
        mkdirSync(stateDir, { mode: 0o700 })
        const first = await start()
        t.match(await logInWithKey(first, sim.issueKey()), { state: 'stored' })
        t.equal(await first.stop(), 0)

        const mend = begin(disk)
        const second = await start()
        const key = await servedKey(second)
        t.match(key, /^pnu_/)
        t.match((await second.ask('GET', '/v1/status')).text, reason)
        await kill(second)

        mend()
        const third = await start()
        t.match((await third.ask('POST', '/v1/keys/cloud/renew', {})).body, { outcome: 'renewed' })
        t.match(sim.keys.find(key ?? ''), { deletedAt: undefined })
        await third.stop()
      })
    },
  )
}

t.test(
  'the very first start on a full disk serves what needs no state, and makes the vault later',
  { skip },
  async (t) => {
    await onSmallDisk(async (disk) => {
      const { sim, stateDir, start, profilesFile } = await setStage(t, disk)
      mkdirSync(stateDir, { mode: 0o700 })
      const mend = fillDisk(disk)
      const inFile = sim.issueKey()
      writeFileSync(
        profilesFile,
        `active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "${sim.workspaceUrl('prefect/terry')}"\nPREFECT_API_KEY = "${inFile}"\n`,
        { mode: 0o600 },
      )
      const daemon = await start()
      t.equal(await servedKey(daemon), inFile)
      t.match((await daemon.ask('GET', '/readyz')).body, { ready: true, degraded: /disk full/ })
      t.match((await daemon.ask('GET', '/v1/status')).body, { vault: { state: 'unavailable' } })
      t.match(await logInWithKey(daemon, sim.issueKey()), { state: 'failed' }, 'a change is refused')

      mend()
      t.match(await logInWithKey(daemon, sim.issueKey()), { state: 'stored' }, 'as soon as there is room')
      t.match((await daemon.ask('GET', '/v1/status')).body, { vault: { state: 'ready' } })
      await daemon.stop()
    })
  },
)
