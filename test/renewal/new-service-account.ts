import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { BrokerError } from '../../src/base/errors.js'
import { makeRoot, openBroker, type TestBroker } from '../fixtures/broker.js'
import { until } from '../fixtures/shipped.js'

const DAY = 86_400_000

async function setStage(t: Test) {
  const sim = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry', 'other'] }],
    users: [{ handle: 'terry' }, { handle: 'member', admin: false }],
    bots: [{ name: 'old', account: 'prefect' }],
  })
  const root = await makeRoot(t)
  const open: TestBroker[] = []
  const reopen = async () => {
    await open.at(-1)?.close()
    const broker = await openBroker({ root, sim })
    open.push(broker)
    return broker
  }
  t.after(async () => {
    await open.at(-1)?.close()
    await sim.close()
  })
  const broker = await reopen()
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  return {
    sim,
    broker,
    accounts: broker.app.serviceAccounts,
    list: broker.app.serviceAccountDirectory,
    reopen,
  }
}

const creations = (sim: Awaited<ReturnType<typeof setStage>>['sim']) =>
  sim.requests.filter(({ method, path }) => method === 'POST' && path.endsWith('/bots/')).length

t.test(
  'creates a service account, and a profile that uses its key in the workspace of the owner',
  async (t) => {
    const { sim, broker, accounts, list } = await setStage(t)
    const { key } = await accounts.create({ profile: 'ci', name: 'ci', expiresAt: Date.now() + 90 * DAY })
    const served = broker.served('ci') ?? ''
    t.match(served, /^pnb_/)
    t.equal(sim.keys.find(served)?.id, key.id)
    t.match(await broker.file(), `PREFECT_API_URL = "${sim.workspaceUrl('prefect/terry')}"`)
    t.notMatch(await broker.file(), 'pnb_')
    t.equal(broker.credentials.state().resolved.name, 'cloud', 'the active profile stays')
    t.strictSame(
      [...sim.directory.bot('ci').workspaceIds],
      [sim.directory.workspace('prefect/terry').id],
      'it reaches this workspace and no other',
    )
    t.match((await list.list()).serviceAccounts, [
      { name: 'old', profiles: [] },
      { name: 'ci', role: 'Member', profiles: ['ci'], key: { id: key.id } },
    ])
    t.strictSame(Object.keys(broker.journal.read().entries), [])
    const { key: next } = await accounts.rotate({ profile: 'ci', name: 'ci' })
    t.not(next.fingerprint, key.fingerprint, 'and it can be rotated')
  },
)

t.test('nothing is created if it could not be used, or would replace a key', async (t) => {
  const { sim, broker, accounts } = await setStage(t)
  await broker.logins.keep(
    await broker.delivery(sim.issueBotKey({ bot: 'old' }), {
      profile: 'taken',
      via: 'pasted',
      isToBeActive: false,
    }),
  )
  await broker.logins.keep(
    await broker.delivery(sim.issueKey({ user: 'member' }), { profile: 'low', isToBeActive: false }),
  )
  const rows = [
    [{ profile: 'ci', name: 'old' }, 'service_account_exists', /already/],
    [{ profile: 'taken', name: 'new' }, 'profile_in_use', /needs a profile of its own/],
    [{ profile: 'cloud', name: 'new' }, 'profile_in_use', /needs a profile of its own/],
    [{ profile: 'ci', name: 'new', role: 'King' }, 'prefect_not_found', /no workspace role/],
    [{ profile: 'ci', name: 'new', expiresAt: Date.now() - 1 }, 'bad_request', /past/],
    [{ profile: 'ci', name: 'new', ownerProfile: 'nowhere' }, 'profile_not_found', /nowhere/],
    [{ profile: 'local', name: 'new' }, 'profile_not_cloud', /local/],
    [{ profile: 'ephemeral', name: 'new' }, 'profile_not_cloud', /ephemeral/],
  ] as const
  for (const [wanted, code, message] of rows) await t.rejects(accounts.create(wanted), { code, message })
  t.equal(creations(sim), 0)
  t.notMatch(await broker.file(), 'profiles.ci', 'and no profile')
  await t.rejects(accounts.create({ profile: 'ci', name: 'new', ownerProfile: 'low' }), {
    code: 'prefect_forbidden',
    message: /this takes the role Admin or Owner/,
    hint: new RegExp(`${sim.uiUrl}/account/${sim.directory.workspace('prefect/terry').accountId}`),
  })
  t.equal(creations(sim), 1)
  t.strictSame(Object.keys(broker.journal.read().entries), [], 'a refusal leaves nothing to go on with')
  t.equal(sim.directory.bots.size, 1)
})

t.test('the key is kept if the service account has no role yet, and used as soon as it has', async (t) => {
  const { sim, broker, accounts, reopen } = await setStage(t)
  await t.rejects(accounts.create({ profile: 'ci', name: 'ci', role: null }), {
    code: 'workspace_none',
    message: /was created and its key is in the vault/,
  })
  const [made] = sim.keys.ofOwner(sim.directory.bot('ci').id)
  const again = await reopen()
  await again.recover()
  t.equal(again.served('ci'), 'login_required')
  await t.rejects(again.app.serviceAccountDirectory.delete('ci'), {
    code: 'profile_in_use',
    message: /about to use/,
  })
  sim.directory.bot('ci').workspaceIds.add(sim.directory.workspace('prefect/terry').id)
  await again.recover()
  t.equal(sim.keys.find(again.served('ci') ?? '')?.id, made?.id)
  t.equal(sim.keys.ofOwner(sim.directory.bot('ci').id).length, 1, 'no second key was made')
  t.equal(broker.saboteur.isDead, false)
})

t.test('a lost answer is told, with the command that gives the account a key', async (t) => {
  const { sim, broker, accounts } = await setStage(t)
  const warnings: unknown[] = []
  broker.events.onEvent(({ type, facts }) => type === 'renewal.warning' && warnings.push(facts.hint))
  sim.faults.next({ method: 'POST', path: /bots\/$/ }, { kind: 'reset', when: 'after' })
  await t.rejects(accounts.create({ profile: 'ci', name: 'ci' }), BrokerError)
  await broker.recover()
  t.strictSame(warnings, ['prefect-auth service-account rotate ci --profile ci'])
  const { key } = await accounts.rotate({ profile: 'ci', name: 'ci' }).catch(() => ({ key: undefined }))
  t.equal(key, undefined, 'it has no role yet')
  sim.directory.bot('ci').workspaceIds.add(sim.directory.workspace('prefect/terry').id)
  await broker.recover()
  t.match(broker.served('ci'), /^pnb_/)
})

t.test('a kill at any step: the key that was made is used, or it is said that nobody has it', async (t) => {
  let steps = 1
  for (; steps < 60; steps += 1) {
    const { sim, broker, accounts, reopen } = await setStage(t)
    broker.saboteur.arm(steps)
    await accounts.create({ profile: 'ci', name: 'ci' }).catch(() => undefined)
    const isDone = !broker.saboteur.isDead
    const at = `step ${steps}: ${broker.saboteur.steps.at(-1)}`
    const again = await reopen()
    const warnings: unknown[] = []
    again.events.onEvent(({ type, facts }) => type === 'renewal.warning' && warnings.push(facts.hint))
    await again.recover()
    const isMade = [...sim.directory.bots.values()].some(({ name }) => name === 'ci')
    const isThere = again.credentials.states().some(({ resolved }) => resolved.name === 'ci')
    const served = (isThere ? again.served('ci') : undefined) ?? 'no profile'
    if (!isMade) t.notMatch(served, /^pnb_/, at)
    else if (!served.startsWith('pnb_')) t.equal(warnings.length, 1, `${at}: ${served}`)
    else t.ok(sim.keys.authenticate(served), at)
    t.match(again.served('cloud'), /^pnu_/, at)
    t.strictSame(Object.keys(again.journal.read().entries), [], `${at}: nothing is left to do`)
    if (isDone) break
  }
  t.ok(steps > 15 && steps < 60, `${steps} steps`)
})

t.test('deletes by name or id, and never an account whose key a profile has', async (t) => {
  const { sim, broker, accounts, list } = await setStage(t)
  await accounts.create({ profile: 'ci', name: 'ci' })
  await t.rejects(list.delete('ci'), { code: 'profile_in_use', message: /profile 'ci' uses the key/ })
  await t.rejects(list.delete('nobody'), {
    code: 'prefect_not_found',
    hint: 'prefect-auth service-account ls',
  })
  t.match(await list.delete('old'), { name: 'old', outcome: 'deleted' }, 'whose key nobody here has')
  await broker.profiles.logout('ci', { revoke: false })
  const { id } = sim.directory.bot('ci')
  t.match(await list.delete(id), { id, name: 'ci', outcome: 'deleted' })
  t.equal(sim.directory.bots.size, 0)
})

t.test('never deletes an account whose key is rotated meanwhile, whoever is sure', async (t) => {
  const { sim, broker, accounts, list } = await setStage(t)
  await accounts.create({ profile: 'ci', name: 'ci' })
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const lookups = () => sim.requests.filter(({ path }) => path.endsWith('/bots/filter')).length
  const before = lookups()
  sim.faults.next({ method: 'POST', path: /rotate_api_key$/ }, { kind: 'hold', until: held })
  const rotated = accounts.rotate({ profile: 'ci', name: 'ci' })
  await until(
    () => lookups() === before + 1,
    () => 'no rotation',
  )
  const deleted = list.delete('ci', { isSure: true }).catch((error: unknown) => error)
  await until(
    () => lookups() === before + 2,
    () => 'no deletion',
  )
  release()
  await rotated
  t.match(await deleted, { code: 'profile_in_use', message: /profile 'ci' uses the key/ })
  t.ok([...sim.directory.bots.values()].some(({ name }) => name === 'ci'))
  t.match(broker.served('ci'), /^pnb_/)
})

t.test('a pasted key may be of any service account of its account: only on demand', async (t) => {
  const { sim, broker, list } = await setStage(t)
  const pasted = sim.issueBotKey({ bot: 'old' })
  await broker.logins.keep(
    await broker.delivery(pasted, { profile: 'ci', via: 'pasted', isToBeActive: false }),
  )
  await t.rejects(list.delete('old'), {
    code: 'profile_in_use',
    message: /it may be 'old'/,
    hint: 'prefect-auth service-account delete old --yes      (if it is another one)',
  })
  t.match(await list.delete('old', { isSure: true }), { outcome: 'deleted' })
})

t.test('a Member sees the service accounts, and is told what it takes to delete one', async (t) => {
  const { sim, broker, list } = await setStage(t)
  await broker.logins.keep(
    await broker.delivery(sim.issueKey({ user: 'member' }), { profile: 'low', isToBeActive: false }),
  )
  t.equal((await list.list('low')).serviceAccounts.length, 1)
  await t.rejects(list.delete('old', { profile: 'low' }), {
    code: 'prefect_forbidden',
    message: /Admin or Owner/,
    hint: /page Service Accounts/,
  })
})

t.test(
  'creates a workspace in the account of the profile, or a named one; the profile keeps its own',
  async (t) => {
    const { sim, broker } = await setStage(t)
    const url = broker.credentials.serve('cloud').apiUrl
    const { workspace } = await broker.workspaces.create('cloud', { handle: 'fresh', name: 'Fresh air' })
    t.match(workspace, { accountHandle: 'prefect', workspaceHandle: 'fresh', workspaceName: 'Fresh air' })
    t.equal(sim.directory.workspace('prefect/fresh').id, workspace.workspaceId)
    t.equal(broker.credentials.serve('cloud').apiUrl, url)
    t.match(await broker.workspaces.choose('cloud', 'prefect/fresh'), {
      workspace: { workspaceHandle: 'fresh' },
    })
    await t.rejects(broker.workspaces.create('cloud', { handle: 'fresh' }), {
      code: 'prefect_refused',
      message: /409/,
    })
    await t.rejects(broker.workspaces.create('cloud', { handle: 'x', account: 'nobody' }), {
      code: 'workspace_not_found',
      hint: /accounts: prefect/,
    })
    await broker.logins.keep(
      await broker.delivery(sim.issueKey({ user: 'member' }), { profile: 'low', isToBeActive: false }),
    )
    await t.rejects(broker.workspaces.create('low', { handle: 'x' }), {
      code: 'prefect_forbidden',
      message: /Admin or Owner/,
      hint: /page Workspaces/,
    })
  },
)
