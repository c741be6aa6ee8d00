/** Changes beside each other, beside other programs, and after a failure: nothing newer is touched, no key is lost. */
import { readFileSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { BrokerError } from '../../src/base/errors.js'
import type { BrokerEvent } from '../../src/base/events.js'
import { makeRoot, openBroker, type TestBroker } from '../fixtures/broker.js'

async function setStage(t: Test) {
  const sim = await startCloudSimulator({ accounts: [{ handle: 'prefect', workspaces: ['terry', 'other'] }] })
  const root = await makeRoot(t)
  const opened: TestBroker[] = []
  t.after(async () => {
    for (const one of opened) await one.close()
    await sim.close()
  })
  const open = async (prepare?: (broker: TestBroker) => unknown) => {
    const broker = await openBroker({ root, sim })
    opened.push(broker)
    prepare?.(broker)
    await broker.recover()
    return broker
  }
  const broker = await open()
  return { sim, broker, open }
}

t.setTimeout(240_000)

const diskFull = () => new BrokerError('disk_failed', 'disk full')

function table(url: string, key?: string): string {
  const line = key === undefined ? '' : `PREFECT_API_KEY = "${key}"\n`
  return `active = "cloud"\n\n[profiles.cloud]\nPREFECT_API_URL = "${url}"\n${line}`
}

function heldKeys({ ledger, keeper }: TestBroker): readonly (string | undefined)[] {
  return Object.keys(ledger.read().keys).map((item) => keeper.keyOf(item)?.reveal())
}

t.test(
  'a login that failed is over: what the user writes afterwards stays, also after a start',
  async (t) => {
    for (const where of ['before store.edit', 'after store.edit', 'before ledger.update'] as const) {
      const { sim, broker, open } = await setStage(t)
      await broker.write(table(sim.workspaceUrl('prefect/terry')))
      const delivery = await broker.delivery(sim.issueKey())
      // From the edit on nothing can be written: neither the commit nor the way back.
      const mend =
        where === 'before ledger.update'
          ? breakAfterEdit(broker)
          : broker.saboteur.fail('store.edit', where === 'before store.edit' ? 'before' : 'after', diskFull)
      await t.rejects(broker.logins.keep(delivery), { code: 'disk_failed' })
      mend()
      const own = table(sim.workspaceUrl('prefect/other'), sim.issueKey({ name: "the user's own" }))
      await writeFile(broker.profilesFile, own)
      await broker.close()
      const again = await open()
      await again.recover()
      t.equal(await again.file(), own, where)
      t.equal(again.served(), /KEY = "(\w+)"/.exec(own)?.[1], where)
      t.strictSame(again.journal.read().entries, {}, where)
    }
  },
)

function breakAfterEdit(broker: TestBroker): () => void {
  const mends: (() => void)[] = []
  broker.saboteur.onStep((name) => {
    if (name !== 'after store.edit' || mends.length > 0) return
    mends.push(broker.saboteur.fail('ledger.update', 'before', diskFull))
    mends.push(broker.saboteur.fail('store.edit', 'before', diskFull))
  })
  return () => {
    for (const mend of mends) mend()
    broker.saboteur.onStep(() => undefined)
  }
}

t.test('while a change cannot be undone, others see what was before, also after a start', async (t) => {
  const { sim, broker, open } = await setStage(t)
  const old = sim.issueKey()
  await broker.logins.keep(await broker.delivery(old))
  const { apiUrl } = broker.credentials.serve('cloud')
  const delivery = await broker.delivery(sim.issueKey())
  const workspace = delivery.workspaces[1] ?? delivery.workspace
  const mend = breakAfterEdit(broker)
  await t.rejects(broker.logins.keep({ ...delivery, workspace }), { code: 'disk_failed' })
  t.match(await broker.file(), workspace.workspaceId, 'the file has the new URL')
  t.equal(broker.served(), old)
  t.equal(broker.credentials.serve('cloud').apiUrl, apiUrl, 'and the answer the old one')
  await broker.close()
  mend()
  const again = await open((next) => next.saboteur.fail('store.edit', 'before', diskFull))
  t.match(await again.file(), workspace.workspaceId, 'still in the file')
  t.equal(again.served(), old)
  t.equal(again.credentials.serve().apiUrl, apiUrl)
  again.saboteur.fail('store.edit', 'before', diskFull)()
  await again.recover()
  t.notMatch(await again.file(), workspace.workspaceId)
  t.equal(again.served(), old)
  t.equal(again.credentials.serve('cloud').apiUrl, apiUrl)
  t.strictSame(again.journal.read().entries, {})
})

const URL_OF_OTHERS = 'PREFECT_API_URL = "http://127.0.0.1:4200/api"'
const FILES = {
  'no active profile': `[profiles.other]\n${URL_OF_OTHERS}\n`,
  'no active profile, a comment and settings first': `# mine\nprofiles.other = { ${URL_OF_OTHERS} }\n`,
  'an active profile that is nowhere': `active = "gone"\n\n[profiles.other]\n${URL_OF_OTHERS}\n`,
  'another active profile': `active = "other" # mine\n\n[profiles.other]\n${URL_OF_OTHERS}\n`,
  'the URL that the login writes': 'SAME',
} as const

for (const [name, form] of Object.entries(FILES)) {
  t.test(`a login that is undone leaves a file with ${name} as it was`, async (t) => {
    for (const isKilled of [false, true]) {
      const { sim, broker, open } = await setStage(t)
      const text =
        form === 'SAME'
          ? `[profiles.cloud]\nPREFECT_API_URL = "${sim.workspaceUrl('prefect/terry')}"\n`
          : form
      await broker.write(text)
      const delivery = await broker.delivery(sim.issueKey())
      if (isKilled) {
        broker.saboteur.onStep((step) => {
          if (step === 'after store.edit') broker.saboteur.arm(0)
        })
      } else broker.saboteur.fail('store.edit', 'after', diskFull)
      await t.rejects(broker.logins.keep(delivery))
      await broker.close()
      const again = await open()
      t.equal(await again.file(), text, isKilled ? 'killed' : 'failing')
    }
  })
}

t.test(
  'the last profile of a file is gone when it is deleted, or the login that made it is undone',
  async (t) => {
    const { broker } = await setStage(t)
    await broker.write(`[profiles.other]\n${URL_OF_OTHERS}\n`)
    await broker.profiles.delete('other')
    t.equal(broker.store.reading().state, 'good')
    t.throws(() => broker.credentials.state('other'), { code: 'profile_not_found' })
    t.equal(await broker.file(), '[profiles]\n')
  },
)

t.test('a login that is undone does not touch an active profile that was chosen since', async (t) => {
  for (const before of ['', 'active = "other"\n\n']) {
    const { sim, broker, open } = await setStage(t)
    const others = `[profiles.other]\n${URL_OF_OTHERS}\n[profiles.third]\n${URL_OF_OTHERS}\n`
    await broker.write(`${before}${others}`)
    const mend = breakAfterEdit(broker)
    await t.rejects(broker.logins.keep(await broker.delivery(sim.issueKey())))
    mend()
    const written = await broker.file()
    t.match(written, /^active = "cloud"/)
    await writeFile(broker.profilesFile, written.replace('active = "cloud"', 'active = "third"'))
    await broker.close()
    const again = await open()
    const file = await again.file()
    t.match(file, /^active = "third"/)
    t.notMatch(file, /profiles\.cloud/, 'the rest is undone')
    t.strictSame(again.journal.read().entries, {})
  }
})

t.test(
  'a key that is renewed while a change cannot be undone is given, with the URL from before',
  async (t) => {
    for (const isStarted of [false, true]) {
      const { sim, broker, open } = await setStage(t)
      await broker.logins.keep(await broker.delivery(sim.issueKey(), { exchange: true }))
      const { apiUrl, generation } = broker.credentials.serve('cloud')
      const old = broker.served()
      const delivery = await broker.delivery(sim.issueKey())
      const workspace = delivery.workspaces[1] ?? delivery.workspace
      const mend = breakAfterEdit(broker)
      await t.rejects(broker.logins.keep({ ...delivery, workspace }), { code: 'disk_failed' })
      mend()
      const broken = (one: TestBroker) => one.saboteur.fail('store.edit', 'before', diskFull)
      if (isStarted) await broker.close()
      const now = isStarted ? await open(broken) : broker
      broken(now)
      // Nobody has the old key: it is deleted at Prefect, and must not be given any more.
      await now.ledger.update((ledger) => ({
        ...ledger,
        keys: Object.fromEntries(
          Object.entries(ledger.keys).map(([item, key]) => [item, { ...key, handedOut: false }]),
        ),
      }))
      await now.rotator.rotate('cloud')
      const given = await now.credentials.markHandedOut(now.credentials.serve('cloud'))
      t.not(given.apiKey?.reveal(), old)
      t.ok(sim.keys.authenticate(given.apiKey?.reveal() ?? ''))
      t.equal(given.apiUrl, apiUrl)
      t.ok(given.generation > generation)
      t.match(await now.file(), workspace.workspaceId, 'the file still has the other one')
      broken(now)()
      await now.recover()
      await now.credentials.settle()
      t.equal(now.credentials.serve('cloud').apiUrl, apiUrl)
      t.equal(now.served(), given.apiKey?.reveal())
    }
  },
)

t.test('an adoption never removes a key that was written while the older was examined', async (t) => {
  const { sim, broker } = await setStage(t)
  const [older, newer] = [sim.issueKey({ name: 'older' }), sim.issueKey({ name: 'newer' })]
  const url = sim.workspaceUrl('prefect/terry')
  await broker.write(table(url, older))
  broker.saboteur.onStep((name) => {
    if (name === 'before cloud.workspaces') void writeFile(broker.profilesFile, table(url, newer))
  })
  await t.rejects(broker.profiles.adopt('cloud'), { code: 'profiles_file_changed' })
  broker.saboteur.onStep(() => undefined)
  t.match(await broker.file(), newer)
  t.equal(broker.served(), newer)
  t.ok(heldKeys(broker).includes(older), 'and the older is kept, for the file has it no more')
  t.ok((await broker.profiles.adopt('cloud')).fingerprint)
  t.equal(broker.served(), newer)
})

t.test(
  'an adoption that kept nothing has nothing to take back, though another program took the key away',
  async (t) => {
    const { sim, broker, open } = await setStage(t)
    const url = sim.workspaceUrl('prefect/terry')
    await broker.write(table(url, sim.issueKey()))
    broker.saboteur.fail('vault.put', 'before', diskFull)
    broker.saboteur.onStep((name) => {
      if (name === 'before vault.put') writeFileSync(broker.profilesFile, table(url))
    })
    await t.rejects(broker.profiles.adopt('cloud'), { code: 'disk_failed' })
    await broker.close()
    const again = await open()
    t.strictSame(again.journal.read().entries, {}, 'nothing is left half done')
    t.equal(await again.file(), table(url))
  },
)

t.test('a key of the file that a login replaces is in the vault', async (t) => {
  const { sim, broker } = await setStage(t)
  const plain = sim.issueKey({ name: 'plain' })
  await broker.write(table(sim.workspaceUrl('prefect/terry'), plain))
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  t.notMatch(await broker.file(), plain)
  t.ok(heldKeys(broker).includes(plain))
  t.match(
    Object.values(broker.ledger.read().keys).find(({ origin }) => origin === 'profile'),
    { handedOut: true, retiredAt: Number },
  )
})

t.test('one change is one generation and one event', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  const changed: BrokerEvent[] = []
  broker.events.onEvent((event) => void (event.type === 'credentials.changed' && changed.push(event)))
  const generation = () => broker.credentials.serve('cloud').generation
  const before = generation()
  const delivery = await broker.delivery(sim.issueKey())
  await broker.logins.keep({ ...delivery, workspace: delivery.workspaces[1] ?? delivery.workspace })
  t.equal(generation(), before + 1, 'a login to another workspace')
  await broker.workspaces.choose('cloud', 'prefect/terry')
  t.equal(generation(), before + 2, 'another workspace')
  t.equal(changed.length, 2)
  await broker.profiles.rename('cloud', 'work')
  t.strictSame(
    changed.slice(2).map(({ profile }) => profile),
    ['work'],
  )
})

t.test('acts on one profile take turns, and every one ends', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  const delivery = await broker.delivery(sim.issueKey(), { exchange: true })
  const acts = [
    () => broker.rotator.rotate('cloud'),
    () => broker.profiles.rename('cloud', 'work'),
    () => broker.profiles.rename('work', 'cloud'),
    () => broker.logins.keep(delivery),
    () => broker.workspaces.choose('cloud', 'prefect/other'),
    () => broker.profiles.logout('cloud', { revoke: true }),
    () => broker.logins.keep(delivery),
    () => broker.recover(),
    () => broker.minder.look(),
  ]
  await Promise.allSettled(acts.map((act) => act()))
  await broker.recover()
  t.strictSame(broker.journal.read().entries, {})
  t.ok(sim.keys.find(broker.served() ?? ''), 'the last login counts')
  const living = sim.keys.all().filter(({ name, deletedAt }) => name.startsWith('prefect-auth') && !deletedAt)
  const known = Object.values(broker.ledger.read().keys).map(({ cloudId }) => cloudId)
  for (const { id } of living) t.ok(known.includes(id), 'every minted key that lives is known')
})

t.test('a log-out that revokes, killed at Prefect, goes on at the next start', async (t) => {
  const { sim, broker, open } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey(), { exchange: true }))
  const minted = broker.served() ?? ''
  broker.saboteur.onStep((name) => {
    if (name === 'before cloud.deleteKey') broker.saboteur.arm(0)
  })
  await broker.profiles.logout('cloud', { revoke: true }).catch(() => undefined)
  await broker.close()
  const again = await open()
  t.equal(again.served(), 'login_required')
  t.type(sim.keys.find(minted)?.deletedAt, 'number')
  t.strictSame(again.ledger.read().keys, {})
  t.strictSame(again.journal.read().entries, {})
})

t.test('what the file says is done, though its write is reported as failed', async (t) => {
  const { broker } = await setStage(t)
  const mend = broker.saboteur.fail('store.edit', 'after', diskFull)
  await broker.profiles.create({ name: 'own', apiUrl: 'http://127.0.0.1:4200/api' })
  mend()
  t.match(await broker.file(), /profiles\.own/)
  t.equal(broker.credentials.serve('own').apiUrl, 'http://127.0.0.1:4200/api')
})

t.test(
  'a choice that is written is done, whatever another program writes into the table meanwhile',
  async (t) => {
    const { sim, broker } = await setStage(t)
    await broker.write(table(sim.workspaceUrl('prefect/terry')).replace('active = "cloud"\n', ''))
    const mend = broker.saboteur.fail('store.edit', 'after', () => {
      const text = readFileSync(broker.profilesFile, 'utf8')
      writeFileSync(
        broker.profilesFile,
        text.replace(sim.workspaceUrl('prefect/terry'), sim.workspaceUrl('prefect/other')),
      )
      return diskFull()
    })
    await broker.profiles.use('cloud')
    mend()
    t.match(await broker.file(), /active = "cloud"/)
  },
)

t.test('an undone rename leaves the choice of a name that had no table before', async (t) => {
  const { sim, broker } = await setStage(t)
  const before = table(sim.workspaceUrl('prefect/terry')).replace('[profiles.cloud]', '[profiles.team]')
  await broker.write(before)
  const mend = breakLedgerAfterEdit(broker)
  await t.rejects(broker.profiles.rename('team', 'cloud'), { code: 'disk_failed' })
  mend()
  await broker.recover()
  t.equal(await broker.file(), before)
})

t.test('a deletion that is written is seen at once, though the disk of the state fails', async (t) => {
  const { sim, broker, open } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  await broker.profiles.use('local')
  const mend = breakLedgerAfterEdit(broker)
  await broker.profiles.delete('cloud')
  t.notMatch(broker.served(), /^pnu_/)
  mend()
  await broker.close()
  const again = await open()
  t.notMatch(again.served(), /^pnu_/)
  t.strictSame(again.journal.read().entries, {})
})

/** Changes fail from the edit on; notes, which memory takes, do not. */
function breakLedgerAfterEdit(broker: TestBroker): () => void {
  let isBroken = false
  broker.failUpdates(() => isBroken)
  broker.saboteur.onStep((name) => {
    if (name === 'after store.edit') isBroken = true
  })
  return () => {
    isBroken = false
    broker.saboteur.onStep(() => undefined)
  }
}

t.test(
  'a key that another profile is logging in with survives the end of its first profile',
  {
    timeout: 120_000,
  },
  async (t) => {
    const ends = {
      'log-out': (broker: TestBroker) => broker.profiles.logout('work', { revoke: false }),
      'log-out that revokes': (broker: TestBroker) => broker.profiles.logout('work', { revoke: true }),
      deletion: (broker: TestBroker) => broker.profiles.delete('work'),
    }
    for (const [what, end] of Object.entries(ends)) {
      for (let step = 1, isOver = false; !isOver; step += 1) {
        const { sim, broker } = await setStage(t)
        const key = sim.issueKey()
        await broker.logins.keep(await broker.delivery(key, { profile: 'work', isToBeActive: false }))
        const delivery = await broker.delivery(key)
        const login = () => broker.logins.keep(delivery)
        // Revoking takes the most steps, so there the login comes in between.
        const isEndFirst = what === 'log-out that revokes'
        const first = isEndFirst ? () => end(broker) : login
        const second = isEndFirst ? login : () => end(broker)
        const from = broker.saboteur.steps.length
        let beside: Promise<unknown> | undefined
        broker.saboteur.onStep(() => {
          if (broker.saboteur.steps.length === from + step) beside = second()
        })
        await first()
        broker.saboteur.onStep(() => undefined)
        isOver = beside === undefined
        await (beside ?? second())
        await broker.credentials.settle()
        t.equal(broker.served(), key, `${what} at step ${step}`)
        t.equal(broker.keeper.current('work'), undefined, `${what} at step ${step}: of the other profile`)
        await broker.close()
        await sim.close()
      }
    }
  },
)

t.test('a key that is left to a login goes with it if it fails', { timeout: 60_000 }, async (t) => {
  for (let step = 1, isOver = false; !isOver; step += 1) {
    const { sim, broker } = await setStage(t)
    const key = sim.issueKey()
    await broker.logins.keep(await broker.delivery(key, { profile: 'work', isToBeActive: false }))
    const delivery = await broker.delivery(key)
    broker.saboteur.fail('store.edit', 'before', diskFull)
    const from = broker.saboteur.steps.length
    let beside: Promise<unknown> | undefined
    broker.saboteur.onStep(() => {
      if (broker.saboteur.steps.length === from + step) {
        beside = broker.profiles.logout('work', { revoke: false })
      }
    })
    await t.rejects(broker.logins.keep(delivery), { code: 'disk_failed' })
    broker.saboteur.onStep(() => undefined)
    isOver = beside === undefined
    await (beside ?? broker.profiles.logout('work', { revoke: false }))
    t.strictSame(broker.ledger.read().keys, {}, `at step ${step}`)
    await broker.close()
    await sim.close()
  }
})

t.test('a change that was killed before its edit takes nothing back of what others do', async (t) => {
  for (const [how, write] of Object.entries({
    'our own command': (broker: TestBroker, url: string) =>
      broker.profiles.create({ name: 'cloud', apiUrl: url }),
    'another program': (broker: TestBroker, url: string) => writeFile(broker.profilesFile, table(url)),
  })) {
    const { sim, broker, open } = await setStage(t)
    const delivery = await broker.delivery(sim.issueKey())
    broker.saboteur.onStep((step) => {
      if (step === 'before vault.put') broker.saboteur.arm(0)
    })
    await t.rejects(broker.logins.keep(delivery))
    t.match(Object.values(broker.journal.read().entries), [{ step: 'intended' }], how)
    let mend = () => {}
    const next = await open(({ saboteur }) => {
      mend = saboteur.fail('ledger.update', 'before', diskFull)
    })
    const url = sim.workspaceUrl('prefect/terry')
    if (how === 'our own command') await t.rejects(write(next, url), { code: 'disk_failed' })
    mend()
    await write(next, url)
    const written = await next.file()
    await next.recover()
    t.equal(await next.file(), written, how)
    t.strictSame(next.journal.read().entries, {}, how)
  }
})
