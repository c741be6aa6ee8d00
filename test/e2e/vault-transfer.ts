/** `prefect-auth vault export` here, `import` on another machine: what is taken, kept and refused. */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { startShipped } from '../fixtures/shipped.js'

const PASSPHRASE = 'four random words here'

t.test('the keys come to a new machine, and replace none that works there', async (t) => {
  const sim = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry', 'other'] }],
  })
  t.teardown(() => sim.close())
  const env = { PREFECT_CLOUD_API_URL: sim.apiUrl, PREFECT_CLOUD_UI_URL: sim.uiUrl }
  const [old, fresh] = [await startShipped(t, env), await startShipped(t, env)]
  const dir = t.testdir({ passphrase: `${PASSPHRASE}\n`, wrong: 'four other words here\n' })
  const file = join(dir, 'keys.json')
  const login = async (machine: typeof old, profile: string) => {
    const key = sim.issueKey({ name: profile })
    const done = await machine.cli(['login', '-p', profile, '--key-stdin', '-w', 'prefect/terry'], {
      input: key,
    })
    t.equal(done.code, 0, done.stderr)
    return key
  }
  const keyOf = async (machine: typeof old, profile: string) =>
    (await machine.cli(['get', 'key', '-p', profile])).stdout.trim()
  const first = await login(old, 'first')
  const second = await login(old, 'second')
  const auth = ['profile', 'create', 'house', '--api-url', 'http://127.0.0.1:4299/api', '--auth-string-stdin']
  t.equal((await old.cli(auth, { input: 'user:password' })).code, 0)
  const own = await login(fresh, 'second')

  const vault = (machine: typeof old, verb: string, passphrase = 'passphrase') =>
    machine.cli(['vault', verb, file, `--passphrase-file=${join(dir, passphrase)}`])
  const full = await old.shell(
    `ulimit -f 0; prefect-auth vault export '${file}' --passphrase-file='${join(dir, 'passphrase')}'`,
  )
  t.match(full, { code: 2, stderr: /cannot write/ })
  t.notOk(existsSync(file), 'nothing is left of half an export')
  const exported = await vault(old, 'export')
  t.match(exported, { code: 0, stdout: /first.*second|second.*first/, stderr: /Then delete the file/ })
  t.match(exported.stdout, /house/)
  t.equal(statSync(file).mode & 0o777, 0o600)
  const text = readFileSync(file, 'utf8')
  for (const secret of [first, second, 'user:password', 'first']) t.notMatch(text, secret)
  t.match(await vault(old, 'export'), { code: 2, stderr: /never replaces a file/ })
  t.equal(readFileSync(file, 'utf8'), text)
  t.match(await old.cli(['vault', 'export', join(dir, 'no'), '--passphrase-file=/nonexistent']), { code: 2 })
  t.notOk(existsSync(join(dir, 'no')))

  t.match(await vault(fresh, 'import', 'wrong'), { code: 1, stderr: /passphrase is wrong/ })
  const imported = await vault(fresh, 'import')
  t.equal(imported.code, 0, `${imported.stdout}${imported.stderr}`)
  t.match(imported.stdout, /^first: taken \(its key was exchanged for one of this machine\)$/m)
  t.match(imported.stdout, /^second: kept \(it has a key here that works\)$/m)
  t.match(imported.stdout, /^house: taken/m)
  const taken = await keyOf(fresh, 'first')
  t.match(taken, /^pnu_/)
  t.not(taken, first, 'it is its own')
  t.equal(await keyOf(fresh, 'second'), own)
  t.equal(await keyOf(old, 'first'), first, 'and the old machine keeps its key')
  const env2 = await fresh.cli(['env', '-p', 'house', '--format', 'json'])
  t.match(env2.stdout, 'user:password')

  const again = await vault(fresh, 'import')
  t.match(again, { code: 0, stdout: /first: kept/ })
  t.match(again.stdout, /house: kept/)
  t.equal(await keyOf(fresh, 'first'), taken)

  for (const damaged of [text.replace(/"tag": "..../, '"tag": "AAAA'), text.replace('131072', '65536')]) {
    t.not(damaged, text)
    writeFileSync(file, damaged)
    t.match(await vault(fresh, 'import'), { code: 1, stderr: /or the file is damaged/ })
  }
  writeFileSync(file, 'not JSON')
  t.match(await vault(fresh, 'import'), { code: 2, stderr: /not an export/ })
  for (const machine of [old, fresh]) {
    for (const secret of [first, taken, PASSPHRASE]) t.notMatch(machine.log(), secret)
  }
  t.match((await old.cli(['audit', '--json'])).stdout, /"vault_exported"/)
})

t.test('what Prefect refuses is named, and nothing is left of it', async (t) => {
  const sim = await startCloudSimulator({ accounts: [{ handle: 'prefect', workspaces: ['terry'] }] })
  t.teardown(() => sim.close())
  const other = await startCloudSimulator({ accounts: [{ handle: 'prefect', workspaces: ['terry'] }] })
  t.teardown(() => other.close())
  const of = (cloud: typeof sim) => ({
    PREFECT_CLOUD_API_URL: cloud.apiUrl,
    PREFECT_CLOUD_UI_URL: cloud.uiUrl,
  })
  const [old, fresh] = [await startShipped(t, of(sim)), await startShipped(t, of(other))]
  const dir = t.testdir({ passphrase: PASSPHRASE })
  const key = sim.issueKey({ name: 'one' })
  await old.cli(['login', '--key-stdin', '-w', 'prefect/terry'], { input: key })
  const file = join(dir, 'keys.json')
  const vault = (machine: typeof old, verb: string) =>
    machine.cli(['vault', verb, file, `--passphrase-file=${join(dir, 'passphrase')}`])
  t.equal((await vault(old, 'export')).code, 0)
  t.match(await vault(fresh, 'import'), {
    code: 1,
    stdout: /^cloud: failed \(its key is for 127.*key_host_mismatch/,
  })
  t.notMatch((await fresh.cli(['status', '--json'])).stdout, /"state": ?"waiting"/)
})
