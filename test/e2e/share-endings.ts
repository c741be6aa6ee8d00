/** No command of one machine ends the key of its share: each drops the local copy and says so. Shipped programs, a real OpenBao. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { keyList } from '../../src/wire/keys.js'
import { shareList } from '../../src/wire/shares.js'
import { startShipped, until } from '../fixtures/shipped.js'
import { startOpenBao } from '../share/fixtures/open-bao.js'

t.setTimeout(300_000)
const DAY_MS = 86_400_000

t.test('local commands end the local copy of a shared key', async (t) => {
  const bao = await startOpenBao(t)
  if (bao === undefined) return
  const sim = await startCloudSimulator({ bots: [{ name: 'fleet', account: 'prefect' }] })
  t.teardown(() => sim.close())
  const dir = mkdtempSync(join(tmpdir(), 'pab-share-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const config = [
    '[share.prod]',
    'store = "vault"',
    `url = "${bao.url}"`,
    'path = "secret/team/prod"',
    'rotate = true',
    'rotate_with = "cloud"',
    '[share.prod.auth]',
    'kind = "token"',
    'token = "vault:prod"',
  ]
  writeFileSync(join(dir, 'config.toml'), config.join('\n'), { mode: 0o600 })
  const one = await startShipped(t, {
    PREFECT_CLOUD_API_URL: sim.apiUrl,
    PREFECT_CLOUD_UI_URL: sim.uiUrl,
    PREFECT_AUTH_CONFIG: join(dir, 'config.toml'),
  })
  const done = async (args: readonly string[], input = '') => {
    const ran = await one.cli(args, { input })
    t.equal(ran.code, 0, `${args.join(' ')}: ${ran.stdout}${ran.stderr}`)
    return ran.stdout
  }
  const refused = async (args: readonly string[], why: RegExp, input = '') => {
    const ran = await one.cli(args, { input })
    t.not(ran.code, 0, args.join(' '))
    t.match(ran.stderr, why)
  }
  const key = async () => (await done(['get', 'key', '-p', 'jobs'])).trim()
  const idOf = (text: string) => sim.keys.find(text)?.id ?? ''
  /** As a person makes a key at Prefect and gives it to the fleet. */
  const adopt = async () => {
    sim.clock.advance(1000)
    const text = sim.issueBotKey({ bot: 'fleet', expiresAt: sim.clock.now() + 30 * DAY_MS })
    await done(['share', 'adopt', 'prod'], text)
    t.equal(await key(), text)
    return text
  }
  const url = sim.workspaceUrl('prefect/terry')
  for (const name of ['jobs', 'other']) await done(['profile', 'create', name, '--api-url', url])
  // A key whose id is known: `--revoke` can delete it.
  await done(['login', '--key-stdin', '-p', 'setup', '-w', 'prefect/terry'], sim.issueKey())
  const own = (await done(['keys', 'create', 'admin', '-p', 'setup'])).trim()
  await done(['logout', '-p', 'setup'])
  await done(['login', '--key-stdin', '-p', 'cloud', '-w', 'prefect/terry'], own)
  await refused(
    ['share', 'init', 'prod', '--service-account', 'fleet'],
    /secret prod of the vault[\s\S]*share secret prod/,
  )
  await done(['share', 'secret', 'prod'], bao.rootToken)
  await refused(['share', 'init', 'prod', '--probe'], /asks before it does anything at Prefect/)
  t.equal(sim.directory.bots.size, 1, 'nothing was made')
  sim.keepOnePrevious(true)
  const probed = await done(['share', 'init', 'prod', '--probe', '--yes'])
  t.match(probed, /a second rotation ended the first key at once[\s\S]*exec --proxy, where they wait/)
  t.equal(sim.directory.bots.size, 1, 'nothing is left')
  sim.keepOnePrevious(false)
  await done(['share', 'init', 'prod', '--service-account', 'fleet'])
  sim.forgetRequests()
  await refused(
    ['share', 'init', 'prod', '--probe', '--yes', '--service-account', 'fleet'],
    /share prod has the key/,
  )
  await done(['share', 'use', 'prod', '--profile', 'jobs'])
  const first = await key()
  const rotations = () => sim.requests.filter(({ path }) => path.endsWith('/rotate_api_key')).length

  await refused(['keys', 'delete', idOf(first), '-p', 'cloud'], /share leave prod --profile jobs/)
  await refused(['login', '--key-stdin', '-p', 'jobs'], /share leave prod --profile jobs/, sim.issueKey())
  await refused(['service-account', 'delete', 'fleet', '--yes', '-p', 'cloud'], /share prod has the key/)
  await refused(
    ['service-account', 'rotate', 'fleet', '-p', 'other', '--owner', 'cloud'],
    /share rotate prod --now/,
  )
  await refused(['service-account', 'rotate', 'fleet', '-p', 'jobs', '--expires-in', '8h'], /of its own/)
  t.match(
    await done(['service-account', 'rotate', 'fleet', '-p', 'jobs']),
    /as soon as every machine has the last one/,
  )
  t.match(await done(['keys', 'rotate-service-account', 'fleet', '-p', 'jobs']), /share status/)
  t.match(await done(['share', 'status']), /waiting/, 'as prefect-auth share rotate does')
  t.equal(rotations(), 0, 'nothing is made now')
  await refused(['renew', '--now', '-p', 'jobs'], /share status/)

  await adopt()
  const second = await key()
  const listed = keyList.parse(JSON.parse(await done(['keys', 'ls', '--json', '-p', 'jobs'])))
  t.match(
    listed.keys.find(({ id }) => id === idOf(first)),
    { state: 'retired', share: 'prod' },
  )
  t.match(await done(['keys', 'delete', idOf(first), '-p', 'cloud']), /forgotten here/)
  t.ok(sim.keys.authenticate(first), 'at Prefect the first key works on')

  await adopt()
  t.match(await done(['keys', 'prune', '-p', 'jobs']), /would be forgotten here/)
  t.match(await done(['keys', 'prune', '-p', 'jobs', '--yes']), /forgotten here[\s\S]*at Prefect it works/)
  t.ok(sim.keys.authenticate(second), 'the second one works on')
  const third = await key()
  // A move takes the secret along.
  await done(['vault', 'rekey'])
  await one.startAgain()
  await until(
    async () => (await done(['share', 'status'])).includes('number 3 of fleet'),
    () => `the store is not read: ${one.log().slice(-2_000)}`,
  )

  const out = await done(['logout', '--revoke', '-p', 'jobs'])
  t.match(out, /at Prefect the key of share prod works on/)
  t.ok(sim.keys.authenticate(third))
  t.match(await done(['share', 'status']), /profiles +none/)
  await one.startAgain()
  await refused(['get', 'key', '-p', 'jobs'], /login/)
  await done(['share', 'use', 'prod', '--profile', 'jobs'])
  t.equal(await key(), third, 'and it can be used again')
  await done(['profile', 'delete', 'jobs'])
  const left = shareList.parse(JSON.parse(await done(['share', 'status', '--json'])))
  t.strictSame(left.shares[0]?.profiles, [], 'a deleted profile has left its share')

  await done(['share', 'use', 'prod', '--profile', 'other'])
  const ran = await one.cli(['uninstall', '--purge', '--revoke', '--yes'])
  t.equal(ran.code, 0, ran.stderr)
  t.match(ran.stderr, /removed: secret prod/)
  t.notOk(one.log().includes(bao.rootToken), 'no secret in the log')
  t.match(ran.stderr, /share prod: the key is forgotten here only/)
  t.match(ran.stderr, /shared by other machines/)
  t.ok(sim.keys.authenticate(third), 'at Prefect the key of the fleet works on')
  t.match(sim.keys.find(own), { deletedAt: Number }, 'the own key is deleted')
  t.equal(rotations(), 0)
})
