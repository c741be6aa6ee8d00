/** A vault that moves, killed at every step of every kind of move, and with a keyring that fails in the middle. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { Secret } from '../../src/std/secret.js'
import type { VaultSettings } from '../../src/vault/choice.js'
import { openVault } from '../../src/vault/open-vault.js'
import type { MovableVault, MoveRequest } from '../../src/vault/vault.js'
import {
  bundleKeychainChild,
  needsSecretService,
  type SecretService,
  startSecretService,
} from '../fixtures/secret-service.js'

const real = needsSecretService()
const childPath = bundleKeychainChild(t)
const PASSPHRASE = 'four random words here'
const ITEMS = ['key:a', 'key:b', 'tokens:secret']

t.setTimeout(880_000)

/** Moves once; argv: state directory, where to, at which step to die. */
const SOURCE = `
import { openVault } from ${JSON.stringify(resolve('src/vault/open-vault.ts'))}
import { systemClock } from ${JSON.stringify(resolve('src/std/clock.ts'))}
import { Secret } from ${JSON.stringify(resolve('src/std/secret.ts'))}
const [, stateDir, to, last] = process.argv
let steps = 0
const step = (facts, message) => {
  if (message !== 'vault move' || ++steps < Number(last)) return
  process.kill(process.pid, 'SIGKILL')
  for (;;);
}
const log = { debug: step, info: step, warn: step, error: step, child: () => log }
const vault = await openVault({
  settings: { backend: 'auto' }, stateDir, childPath: ${JSON.stringify(childPath)}, execPath: process.execPath,
  env: process.env, clock: systemClock(), log, deadlineMs: 20_000, passphraseCost: 16, systemdCreds: '/nowhere',
})
if (vault.describe().state === 'locked') await vault.unlock(new Secret(${JSON.stringify(PASSPHRASE)}))
await vault.move({ to, passphrase: new Secret(${JSON.stringify(PASSPHRASE)}) }, () => ${JSON.stringify(ITEMS)})
await vault.close()
`

/** Returns true if it was killed, false if it came to its end before that step. */
function moveUntil(stateDir: string, to: MoveRequest['to'], step: number, env: Record<string, string>) {
  const args = ['--import=tsx', '--input-type=module', '-e', SOURCE, stateDir, to, String(step)]
  const child = spawn(process.execPath, args, {
    env: { ...env, PATH: process.env.PATH ?? '' },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  return new Promise<boolean>((done, reject) => {
    child.once('close', (code, signal) => {
      if (signal === 'SIGKILL') done(true)
      else if (code === 0) done(false)
      else reject(new Error(`the move ended with ${code ?? signal}`))
    })
  })
}

async function open(
  stateDir: string,
  env: Readonly<Record<string, string>>,
  settings: VaultSettings = { backend: 'auto' },
): Promise<MovableVault> {
  const vault = await openVault({
    settings,
    stateDir,
    childPath,
    execPath: process.execPath,
    env,
    clock: systemClock(),
    log: silentLog(),
    deadlineMs: 20_000,
    passphraseCost: 16,
    systemdCreds: '/nowhere',
  })
  if (vault.describe().state === 'locked') await vault.unlock(new Secret(PASSPHRASE))
  return vault
}

async function setUp(t: Test): Promise<{ stateDir: string; service: SecretService }> {
  const home = mkdtempSync(join(tmpdir(), 'pab-move-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  const service = await startSecretService()
  t.teardown(() => service.stop())
  const stateDir = join(home, 'state')
  const vault = await open(stateDir, service.env, { backend: 'file', keyWrap: 'key-file' })
  for (const item of ITEMS) await vault.put(item, new Secret(`value of ${item}`))
  await vault.close()
  return { stateDir, service }
}

async function checkWhole(t: Test, stateDir: string, env: Readonly<Record<string, string>>, name: string) {
  const vault = await open(stateDir, env)
  for (const item of ITEMS) t.equal((await vault.get(item))?.reveal(), `value of ${item}`, `${name}: ${item}`)
  await vault.close()
  // What a keychain has to forget is forgotten in the background, and in any case before the next move.
  const left = readdirSync(stateDir).filter((file) => file !== 'vault.json' && file !== 'vault-move.json')
  t.ok(left.length <= 1, `${name}: ${left.join(' ')}`)
}

t.test('killed at any step of any move, every key is there, and the next move works', real, async (t) => {
  const { stateDir, service } = await setUp(t)
  const seen: string[] = []
  for (const to of ['rekey', 'passphrase', 'keychain', 'key-file'] as const) {
    let kills = 0
    for (let step = 1; ; step += 1) {
      if (!(await moveUntil(stateDir, to, step, service.env))) break
      kills += 1
      await checkWhole(t, stateDir, service.env, `${to}, killed at step ${step}`)
      const vault = await open(stateDir, service.env)
      const { atRest } = vault.describe()
      // A move that was committed is over: the next one would be refused.
      const isThere =
        { keychain: 'os keychain', passphrase: 'passphrase', 'key-file': 'not protected', rekey: '' }[to] ===
        atRest
      if (isThere) await vault.move({ to: to === 'keychain' ? 'key-file' : 'keychain' }, () => ITEMS)
      await vault.close()
    }
    t.ok(kills >= 8, `${to}: ${kills} steps`)
    await checkWhole(t, stateDir, service.env, `${to}, at its end`)
    seen.push(to)
  }
  t.equal(seen.length, 4)
})

t.test('a keyring that fails in the middle: the old vault is used on, and is whole', real, async (t) => {
  const { stateDir, service } = await setUp(t)
  const vault = await open(stateDir, service.env)
  service.lock()
  await t.rejects(
    vault.move({ to: 'keychain' }, () => ITEMS),
    { code: 'vault_locked' },
  )
  t.match(vault.describe(), { backend: 'file', state: 'ready' })
  await vault.put('key:a', new Secret('newer'))
  await vault.close()
  const again = await open(stateDir, service.env)
  t.equal((await again.get('key:a'))?.reveal(), 'newer')
  await again.close()
})
