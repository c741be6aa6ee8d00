/** Keys of ours that turn up where we did not put them: in plain text in another profile, or under a new name. */
import { writeFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { DAY, type RenewalStage, setRenewalStage } from '../fixtures/renewal-stage.js'

const TABLE = (stage: RenewalStage, key?: string) =>
  `PREFECT_API_URL = "${stage.sim.workspaceUrl('prefect/terry')}"\n${key === undefined ? '' : `PREFECT_API_KEY = "${key}"\n`}`

/** `cloud` has a minted key in the vault, handed out; `copy` has `key` in plain text and is active. */
async function copied(stage: RenewalStage, key = stage.old): Promise<void> {
  const { broker } = stage
  await broker.write(
    `active = "copy"\n\n[profiles.cloud]\n${TABLE(stage)}\n[profiles.copy]\n${TABLE(stage, key)}`,
  )
  await broker.minder.look()
}

const setStage = (t: Test, more: Parameters<typeof setRenewalStage>[1] = {}) =>
  setRenewalStage(t, { isHandedOut: true, ageMs: DAY, ...more })

const TWO_USERS = { sim: { users: [{ handle: 'terry' }, { handle: 'mallory' }] } }

t.test('a copy of our key in another profile is the same key: owner, expiry, renewal plan', async (t) => {
  const stage = await setStage(t)
  await copied(stage)
  const { key, owner, item } = stage.broker.credentials.serve('copy')
  t.strictSame(key, stage.broker.credentials.serve('cloud').key, 'all that is known of it')
  t.match(key, { origin: 'minted', expiresAt: Number, renewsAt: Number })
  t.match(owner, { handle: 'terry' })
  t.type(item, 'string')
  t.equal(Object.keys(stage.broker.ledger.read().keys).filter((one) => one === item).length, 1)
  t.match(
    stage.broker.credentials.state('copy').notices.join('\n'),
    /plain text.*prefect-auth adopt --profile copy/s,
    'the plain text is reported',
  )
  t.match(await stage.broker.file(), stage.old, 'and left where it is')
})

t.test('before it is linked, the copy is served with what is known of the key', async (t) => {
  const stage = await setStage(t)
  await stage.broker.write(`[profiles.copy]\n${TABLE(stage, stage.old)}`)
  // As the first look of the daemon finds it, whatever the disk does then.
  t.match(stage.broker.credentials.serve('copy'), {
    owner: { handle: 'terry' },
    key: { origin: 'minted', expiresAt: Number },
  })
})

t.test('one renewal serves both, with one new key', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  await copied(stage)
  stage.pass(19 * DAY)
  await stage.finish(broker.renewer.tick())
  t.equal(stage.mints(), 1)
  const renewed = broker.served('cloud')
  t.not(renewed, stage.old)
  t.equal(broker.served('copy'), renewed)
  t.match(broker.credentials.serve('copy'), { owner: { handle: 'terry' } })
  stage.pass(25 * DAY)
  await stage.finish(broker.renewer.tick())
  t.equal(stage.mints(), 2)
  t.equal(broker.served('copy'), broker.served('cloud'))
  const again = await stage.reopen()
  t.equal(again.served('copy'), broker.served('cloud'), 'also after a start')
  t.not(again.served('copy'), stage.old)
})

t.test('renews for the copy if the profile that it was made for is gone', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  await copied(stage)
  await broker.write(`active = "copy"\n[profiles.copy]\n${TABLE(stage, stage.old)}`)
  await broker.minder.look()
  stage.pass(19 * DAY)
  await stage.finish(broker.renewer.tick())
  t.equal(stage.mints(), 1)
  t.not(broker.served('copy'), stage.old)
})

t.test('asked by either name, the shared key is renewed once for both', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  await copied(stage)
  await stage.finish(
    Promise.all([
      broker.renewer.renew('copy', { isForced: true }),
      broker.renewer.renew('cloud', { isForced: true }),
    ]),
  )
  t.equal(stage.mints(), 1)
  t.equal(broker.served('copy'), broker.served('cloud'))
})

t.test('an older generation is known, and its successor is served', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  await stage.finish(broker.renewer.renew('cloud', { isForced: true }))
  const renewed = broker.served('cloud')
  t.not(renewed, stage.old)
  await copied(stage, stage.old)
  t.equal(broker.served('copy'), renewed)
  t.match(broker.credentials.serve('copy'), { owner: { handle: 'terry' }, key: { origin: 'minted' } })
  // Long after it has expired: what is in the file is still no stranger's key.
  for (let month = 0; month < 3; month += 1) {
    stage.pass(20 * DAY)
    await stage.finish(broker.renewer.tick())
    await stage.finish(broker.recover())
  }
  t.equal(broker.served('copy'), broker.served('cloud'))
  const again = await stage.reopen()
  await again.recover()
  t.equal(again.served('copy'), broker.served('cloud'))
})

t.test('a copy in the file is never deleted at Prefect, and neither is the key that serves it', async (t) => {
  const stage = await setStage(t, { retireAfterMs: DAY })
  const { broker, sim } = stage
  await copied(stage)
  await stage.finish(broker.renewer.renew('cloud', { isForced: true }))
  stage.pass(5 * DAY)
  await stage.finish(broker.renewer.tick())
  await stage.finish(broker.recover())
  t.equal(sim.keys.find(stage.old)?.deletedAt, undefined, 'plain prefect still uses it')
  const outcome = await stage.finish(broker.profiles.logout('cloud', { revoke: true }))
  const served = broker.served('copy') ?? ''
  t.equal(sim.keys.find(served)?.deletedAt, undefined)
  const used = outcome.notRevoked.filter(({ reason }) => reason === 'another profile uses it')
  t.equal(used.length, 2, 'the key in the file, and its successor')
  t.match(broker.credentials.serve('copy'), { owner: { handle: 'terry' } }, 'the other profile keeps it')
})

t.test('log-out of the copy with revoking leaves what the other profile and its jobs hold', async (t) => {
  const stage = await setStage(t)
  const { broker, sim } = stage
  await stage.finish(broker.renewer.renew('cloud', { isForced: true }))
  const renewed = broker.served('cloud')
  await copied(stage, stage.old)
  const outcome = await stage.finish(broker.profiles.logout('copy', { revoke: true }))
  t.notMatch(await broker.file(), 'pnu_')
  t.equal(broker.served('copy'), 'login_required')
  t.equal(broker.served('cloud'), renewed)
  for (const key of [stage.old, renewed ?? '']) t.equal(sim.keys.find(key)?.deletedAt, undefined)
  t.strictSame(new Set(outcome.notRevoked.map(({ reason }) => reason)), new Set(['another profile uses it']))
})

t.test('adopting the copy takes the text out of the file and keeps one record', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  await copied(stage)
  await broker.profiles.adopt('copy')
  t.notMatch(await broker.file(), 'pnu_')
  t.equal(broker.served('copy'), stage.old)
  t.equal(broker.credentials.serve('copy').item, broker.credentials.serve('cloud').item)
})

t.test('profiles.adopt = auto takes it out of the file', async (t) => {
  const stage = await setStage(t, { policy: { adopt: 'auto' } })
  await copied(stage)
  t.notMatch(await stage.broker.file(), 'pnu_')
  t.match(stage.broker.credentials.serve('copy'), { owner: { handle: 'terry' } })
})

t.test("a profile's own healthy key of another user is not retired by a copy", async (t) => {
  const stage = await setStage(t, TWO_USERS)
  const { broker, sim } = stage
  const own = sim.issueKey({ user: 'mallory' })
  await broker.logins.keep(await broker.delivery(own, { profile: 'copy', isToBeActive: false }))
  const items = Object.values(broker.ledger.read().keys).filter(({ retiredAt }) => retiredAt === undefined)
  await copied(stage)
  t.equal(broker.served('copy'), stage.old, 'what the user wrote there is used')
  t.match(broker.credentials.state('copy').owner, { handle: 'terry' }, 'and named')
  const after = Object.values(broker.ledger.read().keys).filter(({ retiredAt }) => retiredAt === undefined)
  t.strictSame(after, items)
  await broker.write(`active = "copy"\n[profiles.cloud]\n${TABLE(stage)}\n[profiles.copy]\n${TABLE(stage)}`)
  t.equal(broker.served('copy'), own)
})

t.test('a key that was replaced by the key of another user stays the key of its own user', async (t) => {
  const stage = await setStage(t, TWO_USERS)
  const { broker, sim } = stage
  const theirs = sim.issueKey({ user: 'mallory' })
  await broker.logins.keep(await broker.delivery(theirs))
  await copied(stage)
  t.equal(broker.served('cloud'), theirs)
  t.equal(broker.served('copy'), stage.old)
  t.match(broker.credentials.serve('copy'), { owner: { handle: 'terry' }, key: { origin: 'minted' } })
  stage.pass(19 * DAY)
  await stage.finish(broker.renewer.tick())
  t.not(broker.served('copy'), stage.old, 'and is renewed as such')
  t.match(broker.credentials.serve('copy'), { owner: { handle: 'terry' } })
})

/** What a client writes that runs through the proxy: `prefect-cloud login`, `prefect cloud login -k`. */
const PROXIED = (stage: RenewalStage, profile: string, key = `pab_${'t'.repeat(43)}`) => {
  const { accountId, id } = stage.sim.directory.workspace('prefect/terry')
  return `PREFECT_API_URL = "http://127.0.0.1:4280/proxy/${profile}/api/accounts/${accountId}/workspaces/${id}"\nPREFECT_API_KEY = "${key}"\n`
}

t.test('a profile of our proxy URL and our token stands for the profile behind it', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const file = `active = "alias"\n[profiles.cloud]\n${TABLE(stage)}\n[profiles.alias]\n${PROXIED(stage, 'cloud')}`
  await broker.write(file)
  await broker.minder.look()
  const served = broker.credentials.serve()
  t.match(served, { profile: 'alias', kind: 'cloud', owner: { handle: 'terry' } })
  t.equal(
    served.apiUrl,
    stage.sim.workspaceUrl('prefect/terry'),
    'the URL behind the proxy, so nothing goes in a circle',
  )
  t.equal(served.apiKey?.reveal(), stage.old)
  t.match(served.because, /stands for profile 'cloud'/)
  const { notices, resolved } = broker.credentials.state('alias')
  t.equal(resolved.aliasOf, 'cloud')
  t.match(notices.join(), /stands for profile 'cloud'.*prefect-auth workspace set --profile alias/)
  t.equal((await broker.workspaces.list('alias')).workspaces.length, 1)
  const outcome = await stage.finish(broker.app.renewal.renew('alias', { ifDue: false }))
  t.equal(outcome.kind, 'renewed')
  t.equal(broker.served('alias'), broker.served('cloud'), 'one renewal for both')
  t.not(broker.served('alias'), stage.old)
  await t.rejects(broker.profiles.adopt('alias'), { code: 'profile_has_no_key' })
  t.equal(await broker.file(), file, 'nothing touched the file')
})

t.test('the remedy that is shown for such a profile works', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  await broker.write(
    `active = "alias"\n[profiles.cloud]\n${TABLE(stage)}\n[profiles.alias]\n${PROXIED(stage, 'cloud')}`,
  )
  await broker.workspaces.choose('alias', 'prefect/terry')
  await broker.credentials.settle()
  t.notMatch(await broker.file(), /pab_|4280/)
  t.equal(broker.served('alias'), stage.old)
  t.equal(broker.credentials.state('alias').resolved.aliasOf, undefined)
  t.strictSame(broker.credentials.state('alias').notices, [])
})

t.test('aliases of aliases, circles, and of nothing', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  await broker.write(
    [
      `[profiles.cloud]\n${TABLE(stage)}`,
      `[profiles.one]\n${PROXIED(stage, 'cloud')}`,
      `[profiles.two]\n${PROXIED(stage, 'one')}`,
      `[profiles.self]\n${PROXIED(stage, 'self')}`,
      `[profiles.left]\n${PROXIED(stage, 'right')}`,
      `[profiles.right]\n${PROXIED(stage, 'left')}`,
      `[profiles.lost]\n${PROXIED(stage, 'gone')}`,
      `[profiles.stranger]\n${PROXIED(stage, 'cloud', 'pnu_other')}`,
    ].join('\n'),
  )
  const found = ['one', 'two', 'self', 'left', 'right', 'lost', 'stranger'].map((name) => broker.served(name))
  t.strictSame(found, [
    stage.old,
    stage.old,
    ...Array.from({ length: 4 }, () => 'login_required'),
    'pnu_other',
  ])
  t.equal(broker.credentials.state('two').resolved.aliasOf, 'cloud')
})

t.test('an alias of a self-hosted server', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  await broker.write(
    `[profiles.srv]\nPREFECT_API_URL = "http://10.0.0.5:4200/api"\nPREFECT_API_AUTH_STRING = "admin:pass"\n[profiles.alias]\nPREFECT_API_URL = "http://127.0.0.1:4280/proxy/srv/api"\nPREFECT_API_AUTH_STRING = "prefect-auth:pab_${'t'.repeat(43)}"\n`,
  )
  const { apiUrl, authString } = broker.credentials.serve('alias')
  t.equal(apiUrl, 'http://10.0.0.5:4200/api')
  t.equal(authString?.reveal(), 'admin:pass')
  t.match(broker.credentials.state('alias').notices.join(), /prefect-auth profile use srv/)
})

/** As `prefect profile rename cloud work` writes it. */
const RENAMED = (stage: RenewalStage) => `active = "work"\n\n[profiles.work]\n${TABLE(stage)}`

t.test('what we hold for a profile follows prefect profile rename', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  await broker.minder.look()
  await broker.write(RENAMED(stage))
  await broker.minder.look()
  t.equal(broker.served('work'), stage.old)
  t.match(broker.credentials.serve('work'), { owner: { handle: 'terry' } })
  stage.pass(19 * DAY)
  await stage.finish(broker.renewer.tick())
  t.not(broker.served('work'), stage.old, 'and is renewed')
})

t.test('also if no daemon ran at that time', async (t) => {
  const stage = await setStage(t)
  await stage.broker.close()
  await writeFile(stage.broker.profilesFile, RENAMED(stage))
  const again = await stage.reopen()
  await again.recover()
  t.equal(again.served('work'), stage.old)
})

t.test('a profile that was there before, or says something else, is no renamed one', async (t) => {
  const stage = await setStage(t)
  const { broker } = stage
  const other = `[profiles.other]\n${TABLE(stage)}`
  await broker.write(`active = "cloud"\n[profiles.cloud]\n${TABLE(stage)}\n${other}`)
  await broker.minder.look()
  await broker.write(`active = "other"\n${other}`)
  await broker.minder.look()
  t.equal(broker.served('other'), 'login_required')
  await broker.write(`active = "cloud"\n[profiles.cloud]\n${TABLE(stage)}`)
  await broker.minder.look()
  t.equal(broker.served('cloud'), stage.old, 'nothing is lost when it comes back')
  await broker.write(`active = "new"\n[profiles.new]\n${TABLE(stage)}PREFECT_HOME = "/x"\n`)
  await broker.minder.look()
  t.equal(broker.served('new'), 'login_required')
})

t.test('a key with blanks around it is adopted', async (t) => {
  const stage = await setStage(t)
  const { broker, sim } = stage
  const key = sim.issueKey()
  await broker.write(`[profiles.padded]\n${TABLE(stage, ` ${key}\\n`)}`)
  t.equal(broker.served('padded'), key)
  t.match(broker.credentials.state('padded').notices.join(), /has blanks around it.*adopt --profile padded/)
  await broker.profiles.adopt('padded')
  t.notMatch(await broker.file(), key)
  t.equal(broker.served('padded'), key)
})
