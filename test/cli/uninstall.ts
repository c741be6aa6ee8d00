/** `prefect-auth uninstall --purge`: nothing of ours is left, and no key is lost that is still alive at Prefect. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { makeBareHome } from '../fixtures/bare-home.js'

t.setTimeout(900_000)
const skip = process.platform === 'linux' ? false : 'needs a machine without a service manager'

async function setStage(t: Test) {
  const cloud = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry'] }],
    users: [{ handle: 'terry' }],
  })
  t.teardown(() => cloud.close())
  const at = makeBareHome(t, { PREFECT_CLOUD_API_URL: cloud.apiUrl, PREFECT_CLOUD_UI_URL: cloud.uiUrl })
  writeFileSync(join(at.home, '.bashrc'), 'a=b')
  mkdirSync(join(at.home, '.config'))
  const before = at.picture()
  t.equal((await at.cli(['setup', '--yes'])).code, 0)
  const url = cloud.workspaceUrl('prefect/terry')
  const key = cloud.issueKey({ name: 'mine' })
  const login = ['login', '--key-stdin', '--exchange', '--workspace', 'prefect/terry', '-p', 'c']
  const { code, stderr } = await at.cli(login, { input: key })
  t.equal(code, 0, stderr)
  const minted = (await at.cli(['get', 'key', '-p', 'c'])).stdout.trim()
  return { cloud, at, before, url, minted }
}

t.test('without --purge, or without a yes, nothing happens', { skip }, async (t) => {
  const { at } = await setStage(t)
  const before = at.picture()
  t.match(await at.cli(['uninstall']), { code: 2, stderr: /try: prefect-auth uninstall --purge/ })
  t.match(await at.cli(['uninstall', '--purge']), {
    code: 2,
    stderr: /forget the keys of: c[\s\S]*--purge --yes/,
  })
  t.same(at.picture(), before)
  t.match(await at.cli(['get', 'key', '-p', 'c']), { code: 0 })
})

t.test('everything of ours goes; at Prefect the keys stay', { skip }, async (t) => {
  const { at, cloud, before, minted } = await setStage(t)
  const mine = ['mine.txt', 'profiles.toml', 'generation.txt', 'vault/mine', 'run/mine']
  for (const name of mine) writeFileSync(join(at.stateDir, name), 'of the user')
  const ran = await at.cli(['uninstall', '--purge', '--yes'])
  t.match(
    ran,
    { code: 0, stderr: /forget the keys of: c \(at Prefect they stay valid/, stdout: /Uninstalled/ },
    ran.stderr,
  )
  t.match(ran.stderr, /left, as they are not ours: .*mine\.txt/)
  t.same(at.daemons(), [])
  t.same(readdirSync(at.stateDir, { recursive: true }).sort(), [...mine, 'run', 'vault'].sort())
  const after = new Map([...at.picture()].filter(([path]) => !path.startsWith('.prefect')))
  t.same(after, before)
  t.equal(cloud.keys.find(minted)?.deletedAt, undefined)
  t.match(await at.cli(['env']), { code: 4 })
})

t.test('a vault in a directory of its own goes as well, with its data key', { skip }, async (t) => {
  const { at } = await setStage(t)
  const moved = await at.cli(['vault', 'rekey'])
  t.equal(moved.code, 0, moved.stderr)
  t.ok(readdirSync(at.stateDir).some((name) => /^vault-[0-9a-f]{8}$/.test(name)))
  // What a move and a full audit log leave.
  for (const name of [
    'vault-move.json',
    'audit-kept.jsonl',
    'code-cache',
    'code-cache-late',
    'code-cache-out.reading',
  ])
    writeFileSync(join(at.stateDir, name), '{}')
  const ran = await at.cli(['uninstall', '--purge', '--yes'])
  t.equal(ran.code, 0, ran.stderr)
  t.notMatch(ran.stderr, /not ours/)
  t.notOk(existsSync(at.stateDir))
})

t.test('no command starts the daemon again while its state is removed', { skip }, async (t) => {
  const { at } = await setStage(t)
  let isOver = false
  const shell = (async () => {
    while (!isOver) await at.cli(['get', 'url', '-p', 'c'])
  })()
  const ran = await at.cli(['uninstall', '--purge', '--yes'])
  isOver = true
  await shell
  t.equal(ran.code, 0, ran.stderr)
  t.same(at.daemons(), [])
  t.notOk(existsSync(at.stateDir))
})

t.test('with --revoke the keys are deleted at Prefect, too', { skip }, async (t) => {
  const { at, cloud, minted } = await setStage(t)
  // Its id is known only to who made it: the delivered key was not ours to delete.
  const first = await at.cli(['uninstall', '--purge', '--revoke', '--yes'])
  t.match(first, { code: 1, stderr: /keys_not_revoked[\s\S]*its id at Prefect is not known/ })
  t.equal(cloud.keys.find(minted)?.deletedAt !== undefined, true)
  t.match(await at.cli(['uninstall', '--purge', '--yes']), { code: 0 })
  t.notOk(existsSync(at.stateDir))
})

t.test(
  'a key that Prefect does not delete is named and kept, and so is all the rest',
  { skip },
  async (t) => {
    const { at, cloud, minted } = await setStage(t)
    cloud.faults.always({ method: 'DELETE' }, { kind: 'status', status: 503 })
    const rc = readFileSync(join(at.home, '.bashrc'), 'utf8')
    const ran = await at.cli(['uninstall', '--purge', '--revoke', '--yes'])
    t.match(ran, {
      code: 1,
      stderr: /kept here, and nothing else is removed[\s\S]*sha256:[0-9a-f]+ of profile c/,
    })
    t.equal(readFileSync(join(at.home, '.bashrc'), 'utf8'), rc)
    t.ok(readdirSync(join(at.stateDir, 'vault')).length > 1)
    cloud.faults.clear()
    await at.cli(['uninstall', '--purge', '--revoke', '--yes'])
    t.equal(cloud.keys.find(minted)?.deletedAt !== undefined, true, 'a later attempt deletes it')
  },
)

t.test('keys that nobody can be asked about stop it', { skip }, async (t) => {
  const { at } = await setStage(t)
  await at.cli(['setup', '--remove', '--yes'])
  t.match(await at.cli(['uninstall', '--purge', '--yes']), { code: 4, stderr: /try: prefect-authd/ })
  t.ok(existsSync(join(at.stateDir, 'ledger.json')))
})
