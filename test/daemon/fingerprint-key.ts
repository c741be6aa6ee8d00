/** The key of an installation under which passwords are fingerprinted. */
import { mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openFingerprintKey } from '../../src/daemon/fingerprint-key.js'
import { silentLog } from '../../src/std/log.js'

t.test('is made once, private, and differs between installations', async (t) => {
  const dir = t.testdir()
  const key = await openFingerprintKey(dir, silentLog())
  t.equal(key.length, 32)
  t.same(await openFingerprintKey(dir, silentLog()), key)
  t.equal(statSync(join(dir, 'fingerprint.key')).mode & 0o777, 0o600)
  t.same(readFileSync(join(dir, 'fingerprint.key')), key)
  mkdirSync(join(dir, 'other'))
  t.not(Buffer.compare(await openFingerprintKey(join(dir, 'other'), silentLog()), key), 0)
})

t.test('a disk that cannot be used prevents no start', async (t) => {
  const key = await openFingerprintKey('/proc/nowhere', silentLog())
  t.equal(key.length, 32)
})
