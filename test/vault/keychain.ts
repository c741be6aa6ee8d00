import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { Secret } from '../../src/std/secret.js'
import type { AskKeychain, KeychainReply, KeychainRequest } from '../../src/vault/keychain.js'
import { openKeychainVault } from '../../src/vault/keychain.js'
import { openVault } from '../../src/vault/open-vault.js'
import { bundleKeychainChild, needsSecretService, startSecretService } from '../fixtures/secret-service.js'
import { vaultContract } from '../fixtures/vault-contract.js'

t.test('the keychain vault keeps the contract on a real keyring', needsSecretService(), async (t) => {
  const childPath = bundleKeychainChild(t)
  const service = await startSecretService()
  t.teardown(() => service.stop())
  await vaultContract(t, {
    open: () =>
      openVault({
        settings: { backend: 'keychain' },
        stateDir: join(t.testdirName, 'state'),
        childPath,
        execPath: process.execPath,
        env: service.env,
        clock: systemClock(),
        log: silentLog(),
        deadlineMs: 20_000,
      }),
  })
})

t.test('without keytar the keychain is unavailable, and the hint installs it', async (t) => {
  // Outside the repository no module of that name is to be found.
  const dir = mkdtempSync(join(tmpdir(), 'pab-nokeytar-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const childPath = join(dir, 'keychain-child.mjs')
  copyFileSync(bundleKeychainChild(t), childPath)
  // No preflight: as on the systems that need none.
  const dependencies = {
    childPath,
    execPath: process.execPath,
    env: {},
    clock: systemClock(),
    log: silentLog(),
  }
  const settings = { backend: 'keychain' } as const
  const stateDir = join(dir, 'state')
  await t.rejects(
    openVault({ settings, stateDir, ...dependencies, platform: 'darwin', deadlineMs: 20_000 }),
    {
      code: 'vault_unavailable',
      message: /keytar is not installed/,
      hint: /--vault-backend=file/,
    },
  )
})

/** A vault over a keychain that answers so. */
function over(answers: Partial<Record<KeychainRequest['verb'], KeychainReply>>) {
  const ask: AskKeychain = async ({ verb }) => answers[verb] ?? { kind: 'nothing' }
  return openKeychainVault({ ask, store: 'test', because: 'test', platform: 'darwin' })
}

t.test('a keychain that reports success and keeps nothing is unavailable', async (t) => {
  const vault = await over({ set: { kind: 'done' } })
  await t.rejects(vault.put('key:a', new Secret('precious')), {
    code: 'vault_unavailable',
    message: /different value/,
  })
  t.match(vault.describe(), { state: 'unavailable', problem: { message: /different value/ } })
  t.equal(await vault.get('key:a'), undefined)
  t.match(vault.describe(), { state: 'ready', problem: undefined }, 'the next good answer counts')
})

t.test("recognizes a locked macOS keychain by the system's message", async (t) => {
  const vault = await over({ get: { kind: 'failed', message: 'User interaction is not allowed.' } })
  await t.rejects(vault.get('key:a'), { code: 'vault_locked', hint: 'security unlock-keychain' })
  t.match(vault.describe(), { backend: 'keychain', state: 'locked' })
})

t.test('cannot lock the OS keychain, and makes no request once closed', async (t) => {
  const vault = await over({})
  await t.rejects(vault.lock(), { code: 'vault_not_lockable' })
  await t.rejects(vault.unlock(new Secret('x')), { code: 'vault_not_lockable' })
  await vault.close()
  await t.rejects(vault.get('key:a'), { code: 'shutting_down' })
})
