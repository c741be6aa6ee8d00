import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { Secret } from '../../src/std/secret.js'
import { createKeyHolder } from '../../src/vault/data-key.js'
import { openVault } from '../../src/vault/open-vault.js'
import { createPassphraseWrap } from '../../src/vault/wrap-passphrase.js'
import { createKeyFileWrap, createSystemdWrap, probeSystemdWrap } from '../../src/vault/wrap-systemd.js'
import { createManualClock } from '../fixtures/manual-clock.js'
import { vaultContract } from '../fixtures/vault-contract.js'

const clock = systemClock()
const key = randomBytes(32)
/** Another systemd-creds than the machine's own, for machines whose own is older than 256. */
const program = process.env.PAB_SYSTEMD_CREDS ?? '/usr/bin/systemd-creds'

t.test('the passphrase wrap, at its real cost', async (t) => {
  const wrap = createPassphraseWrap({ findPassphrase: async () => undefined })
  const passphrase = new Secret('correct horse')
  const sealed = await wrap.seal(key, 'store', passphrase)
  t.match(sealed, { kdf: 'scrypt', n: 2 ** 17 })
  t.same(Buffer.from(await wrap.open(sealed, 'store', passphrase)), key)
  t.notMatch(JSON.stringify(sealed), key.toString('base64').slice(0, 20))
  await t.rejects(wrap.open(sealed, 'store', new Secret('Correct horse')), { code: 'vault_passphrase_wrong' })
  await t.rejects(wrap.open(sealed, 'another store', passphrase), { code: 'vault_passphrase_wrong' })
  await t.rejects(wrap.open(sealed, 'store'), { code: 'vault_locked', hint: 'prefect-auth unlock' })
})

t.test('stretches a wrong passphrase once, however often it is tried', async (t) => {
  let tried = new Secret('wrong')
  let stretched = 0
  const wrap = createPassphraseWrap({
    findPassphrase: async () => tried,
    cost: 2 ** 10,
    stretch: async (passphrase) => {
      stretched += 1
      return createHash('sha256').update(passphrase.reveal()).digest() // a quick stand-in for scrypt
    },
  })
  const sealed = await wrap.seal(key, 'store', new Secret('right'))
  stretched = 0
  for (let item = 0; item < 26; item += 1) {
    await t.rejects(wrap.open(sealed, 'store'), { code: 'vault_passphrase_wrong' })
  }
  t.equal(stretched, 1)
  tried = new Secret('right')
  t.same(Buffer.from(await wrap.open(sealed, 'store')), key, 'another passphrase is tried')
  const other = await wrap.seal(key, 'store', new Secret('wrong'))
  t.same(Buffer.from(await wrap.open(other, 'store', new Secret('wrong'))), key, 'and so is another seal')
})

t.test('asks what wraps the data key once for all items of a moment', async (t) => {
  const manual = createManualClock()
  let opened = 0
  const wrap = { ...createKeyFileWrap(), kind: 'systemd-creds' } as const
  const dataKey = {
    isMade: () => true,
    make: async () => key,
    open: async () => {
      opened += 1
      if (opened > 2) return key
      throw new BrokerError('vault_unavailable', 'no answer in time')
    },
  }
  const holder = createKeyHolder(dataKey, wrap, manual)
  for (let item = 0; item < 26; item += 1) {
    await t.rejects(holder.require(), { code: 'vault_unavailable' })
  }
  t.equal(opened, 1)
  manual.pass(2000)
  await t.rejects(holder.require(), { code: 'vault_unavailable' })
  manual.pass(2000)
  t.same(await holder.require(), key)
})

t.test('rejects a seal that demands too much memory', async (t) => {
  const wrap = createPassphraseWrap({ findPassphrase: async () => new Secret('x'), cost: 2 ** 10 })
  const sealed = { ...Object(await wrap.seal(key, 'store')), n: 2 ** 30 }
  await t.rejects(wrap.open(sealed, 'store'), { code: 'vault_corrupt' })
})

t.test('the key file wrap rejects what is not a key', async (t) => {
  const wrap = createKeyFileWrap()
  t.same(Buffer.from(await wrap.open(await wrap.seal(key, 'store'), 'store')), key)
  for (const sealed of [undefined, {}, { key: '' }, { key: 'short' }]) {
    await t.rejects(wrap.open(sealed, 'store'), { code: 'vault_corrupt' })
  }
})

t.test('reports a systemd-creds that is missing or does not know --user', async (t) => {
  const missing = await probeSystemdWrap(createSystemdWrap({ clock, program: '/nowhere/systemd-creds' }))
  t.match(missing, /ENOENT/)
  // Like systemd 252: it ends with an error about the option.
  t.match(await probeSystemdWrap(createSystemdWrap({ clock, program: '/usr/bin/false' })), /exit code 1/)
  // Says yes to everything and keeps nothing.
  t.match(await probeSystemdWrap(createSystemdWrap({ clock, program: '/usr/bin/echo' })), /different key/)
  const hung = join(t.testdir({ hung: '#!/bin/sh\nexec sleep 1000\n' }), 'hung')
  chmodSync(hung, 0o700)
  t.match(await probeSystemdWrap(createSystemdWrap({ clock, program: hung, deadlineMs: 300 })), /in time/)
})

const complaint = existsSync(program)
  ? await probeSystemdWrap(createSystemdWrap({ clock, program }))
  : `${program} is not there`

t.test("this machine's own systemd-creds either works or says why not", async (t) => {
  if (complaint !== undefined) return t.match(complaint, /systemd/)
  const wrap = createSystemdWrap({ clock, program })
  const sealed = await wrap.seal(key, 'store')
  t.same(Buffer.from(await wrap.open(sealed, 'store')), key)
  await t.rejects(wrap.open(sealed, 'another store'), { code: 'vault_unavailable' })
  return true
})

const works = complaint === undefined ? {} : { skip: complaint }
t.test('the file vault keeps the contract with systemd-creds', works, async (t) => {
  t.testdir()
  await vaultContract(t, {
    open: () =>
      openVault({
        settings: { backend: 'file' },
        stateDir: join(t.testdirName, 'state'),
        childPath: '/nowhere/child.js',
        execPath: process.execPath,
        env: {},
        clock,
        log: silentLog(),
        systemdCreds: program,
      }),
  })
})
