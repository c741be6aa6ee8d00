/** `prefect-auth vault …` with the shipped programs: keys are served before, during and after. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { startShipped } from '../fixtures/shipped.js'

const PASSPHRASE = 'four random words here'

t.test('a vault gets a passphrase, another one, and a new data key, while its key is served', async (t) => {
  const sim = await startCloudSimulator({ accounts: [{ handle: 'prefect', workspaces: ['terry'] }] })
  t.teardown(() => sim.close())
  const home = t.testdir({ bin: {} })
  const broker = await startShipped(t, {
    PREFECT_CLOUD_API_URL: sim.apiUrl,
    PREFECT_CLOUD_UI_URL: sim.uiUrl,
    PREFECT_AUTH_VAULT_KEY_WRAP: 'auto',
  })
  const file = (text: string) => {
    const path = join(home, 'passphrase')
    writeFileSync(path, `${text}\n`, { mode: 0o600 })
    return `--passphrase-file=${path}`
  }
  const key = sim.issueKey({ name: 'pasted' })
  const login = await broker.cli(['login', '--key-stdin', '-w', 'prefect/terry'], { input: key })
  t.equal(login.code, 0, login.stderr)
  const served = async () => (await broker.cli(['get', 'key'])).stdout.trim()
  const vault = (...args: string[]) => broker.cli(['vault', ...args])

  const before = await vault('status')
  t.match(before.stdout, /The vault \(file, at rest: /)
  t.match(before.stdout, /^Why: vault.backend = 'file'/m)

  t.match(await vault('move', '--to', 'keychain'), { code: 1, stderr: /vault.backend names another one/ })
  t.match(await vault('move', '--to', 'nowhere'), { code: 2 })
  t.match(await vault('move'), { code: 2 })
  t.match(await vault('move', '--to', 'passphrase'), { code: 2, stderr: /try: .* --passphrase-file FILE/ })
  const weak = await vault('move', '--to', 'passphrase', file('secret'))
  t.match(weak, { code: 1, stderr: /at least 12 characters, 6 of them different \(passphrase_weak\)/ })
  t.notMatch(weak.stderr, /secret\b.*secret\b/)

  const moved = await vault('move', '--to', 'passphrase', file(PASSPHRASE))
  t.match(moved, { code: 0, stdout: /^\d+ secrets moved\. The vault \(file, at rest: passphrase\) is ready/ })
  t.match(moved.stderr, /prefect-auth unlock/)
  t.equal(await served(), key)
  t.match(await vault('move', '--to', 'passphrase', file(PASSPHRASE)), {
    code: 1,
    stderr: /\(vault_not_movable\)/,
  })
  await broker.crash()
  await broker.startAgain()
  t.match((await vault('status')).stdout, /is locked/)
  t.equal((await broker.cli(['unlock', '--passphrase-stdin'], { input: PASSPHRASE })).code, 0)
  t.equal(await served(), key)

  t.equal((await vault('rekey', file('five other random words now'))).code, 0)
  await broker.startAgain()
  t.match(await broker.cli(['unlock', '--passphrase-stdin'], { input: PASSPHRASE }), {
    code: 1,
    stderr: /vault_passphrase_wrong/,
  })
  const input = 'five other random words now'
  t.equal((await broker.cli(['unlock', '--passphrase-stdin'], { input })).code, 0)
  const open = await vault('move', '--to', 'key-file')
  t.match(open, { code: 0, stderr: /run: prefect-auth vault move --to passphrase/ })
  t.equal(await served(), key)
  t.equal((await broker.cli(['audit', '--json'])).stdout.match(/"vault_moved"/g)?.length, 3)
  for (const secret of [key, PASSPHRASE, input]) t.notMatch(broker.log(), secret)
})
