/** What can be wrong with the store and with the document: each is named, the last key is served, and it goes on by itself. */
import t from 'tap'
import { z } from 'zod'
import { stalenessMs } from '../../src/share/pace.js'
import { Secret } from '../../src/std/secret.js'
import {
  code,
  DAY,
  EVERY,
  type Fleet,
  MINUTE,
  mints,
  moved,
  served,
  setStage,
  standings,
  startFleet,
} from './fixtures/machines.js'
import { type OpenBao, startOpenBao } from './fixtures/open-bao.js'

t.setTimeout(240_000)

const troubles = ({ machines }: Fleet) => machines.map(({ broker }) => broker.shares.list()[0]?.trouble)
const made = z.object({ auth: z.object({ client_token: z.string(), accessor: z.string() }) })
const POLICY = 'path "secret/*" { capabilities = ["read", "create", "update"] }'

async function tokenWith(bao: OpenBao, policy: string) {
  await bao.admin('PUT', `sys/policies/acl/${policy}`, { policy: POLICY })
  const answer = await bao.admin('POST', 'auth/token/create', { policies: [policy], no_parent: true })
  return made.parse(answer).auth
}

t.test('bad input, with a real OpenBao', async (t) => {
  const bao = await startOpenBao(t)
  if (bao === undefined) return

  await t.test('the store refuses, or has nothing', async (t) => {
    const { client_token: token, accessor } = await tokenWith(bao, 'fleet')
    const fleet = await startFleet(t, bao, 'bad/store', { token })
    const old = fleet.key()
    const data = `secret/data/${fleet.path}`
    const good = Object(await bao.admin('GET', data)).data.data
    const rows: readonly (readonly [
      string,
      string,
      RegExp,
      () => Promise<unknown>,
      () => Promise<unknown>,
    ])[] = [
      [
        'no permission',
        'share_store_denied',
        /the policy at .*bad\/store does not allow it/,
        () =>
          bao.admin('PUT', 'sys/policies/acl/fleet', {
            policy: 'path "secret/other" { capabilities = ["read"] }',
          }),
        () => bao.admin('PUT', 'sys/policies/acl/fleet', { policy: POLICY }),
      ],
      [
        'deleted',
        'share_document_deleted',
        /bad\/store was deleted/,
        () => bao.admin('DELETE', data),
        () => bao.admin('POST', `secret/undelete/${fleet.path}`, { versions: [1] }),
      ],
      [
        'gone, or another path',
        'share_not_ready',
        /no document at .*bad\/store yet/,
        () => bao.admin('DELETE', `secret/metadata/${fleet.path}`),
        () => bao.admin('POST', data, { data: good, options: { cas: 0 } }),
      ],
    ]
    for (const [title, expected, message, breakIt, mendIt] of rows) {
      await breakIt()
      await fleet.pass(2 * MINUTE)
      for (const trouble of troubles(fleet)) t.match(trouble, { code: expected, message }, title)
      t.notMatch(JSON.stringify(troubles(fleet)), token)
      t.strictSame(served(fleet), [old, old, old], `${title}: the last key is served`)
      await fleet.machines[2]?.reopen()
      t.equal(fleet.machines[2]?.served(), old, `${title}: also after a restart`)
      await mendIt()
      await fleet.pass(2 * MINUTE)
      t.strictSame(troubles(fleet), [undefined, undefined, undefined], `${title}: mended`)
    }
    await bao.admin('POST', 'auth/token/revoke-accessor', { accessor })
    await fleet.pass(2 * MINUTE)
    for (const trouble of troubles(fleet)) t.match(trouble, { code: 'share_store_login' }, 'an expired token')
    t.strictSame(served(fleet), [old, old, old])
    t.equal(mints(fleet), 1)
  })

  await t.test('a store that accepts writes without a version is named', async (t) => {
    const fleet = await startFleet(t, bao, 'bad/cas')
    t.match(await fleet.machines[0]?.broker.shares.examine('prod'), { requiresVersion: false })
    await bao.admin('POST', `secret/metadata/${fleet.path}`, { cas_required: true })
    t.match(await fleet.machines[0]?.broker.shares.examine('prod'), { requiresVersion: true })
    const old = fleet.key()
    await fleet.pass(stalenessMs(EVERY) + MINUTE)
    await fleet.machines[0]?.broker.shares.rotate('prod')
    await fleet.pass(3 * MINUTE)
    moved(t, fleet, old)
  })

  await t.test('a document edited by hand', async (t) => {
    const fleet = await startFleet(t, bao, 'bad/edited')
    const { sim } = fleet
    const old = fleet.key()
    const data = `secret/data/${fleet.path}`
    const good = Object(await bao.admin('GET', data)).data.data
    const newer = (key: string) => ({
      ...good,
      current: { ...good.current, id: 'other', created: good.current.created + 1, key },
    })
    let version = 1
    const rows: readonly (readonly [string, unknown, string, RegExp])[] = [
      ['no pause', { ...good, pace: { ...good.pace, every_ms: 1 } }, 'share_document_invalid', /pace/],
      [
        'no overlap',
        { ...good, pace: { ...good.pace, overlap_ms: 60_000 } },
        'share_document_invalid',
        /pace/,
      ],
      ['another setting', { ...good, overlap: 'never' }, 'share_document_invalid', /./],
      ['no key', { ...good, current: undefined }, 'share_document_invalid', /current/],
      ['a key with a newline', newer('pnb_x\nSet-Cookie: a'), 'share_document_invalid', /current\.key/],
      ['a key that is none', newer(`pnb_${'x'.repeat(36)}`), 'key_rejected', /401/],
      ["a person's key", newer(sim.issueKey()), 'share_mismatch', /belongs to user terry/],
    ]
    for (const [title, document, expected, message] of rows) {
      await bao.admin('POST', data, { data: document, options: { cas: version++ } })
      await fleet.pass(2 * MINUTE)
      t.match(troubles(fleet)[2], { code: expected, message }, title)
      t.notMatch(JSON.stringify(troubles(fleet)), /pn[bu]_/, `${title}: no key is told`)
      t.strictSame(served(fleet), [old, old, old], `${title}: the last key is served`)
    }
    t.equal(mints(fleet), 1, 'nothing was rotated')
    await bao.admin('POST', data, { data: good, options: { cas: version } })
    await fleet.pass(2 * MINUTE)
    t.strictSame(standings(fleet), ['idle', 'idle', 'idle'])
    const adopt = fleet.machines[0]?.broker.shares.adopt('prod', new Secret(sim.issueKey()))
    t.equal(await code(adopt ?? Promise.reject()), 'share_mismatch', "nor is a person's key adopted")
  })

  await t.test('two shares on one path', async (t) => {
    const fleet = await startFleet(t, bao, 'bad/twice')
    const old = fleet.key()
    // Of another Prefect, with machines of its own.
    const other = await setStage(t, bao, 'bad/twice')
    const [first] = other.machines
    const init = first?.broker.shares.init('prod', { serviceAccount: 'fleet' })
    t.equal(await code(init ?? Promise.reject()), 'share_exists')
    t.equal(await code(first?.broker.shares.use('prod', 'jobs') ?? Promise.reject()), 'share_mismatch')
    t.equal(first?.served(), 'login_required', 'and nothing of it is served there')
    await fleet.pass(2 * MINUTE)
    t.strictSame(served(fleet), [old, old, old])
    t.equal(mints(other), 0)
  })

  await t.test("a person's rotation at Prefect, with an overlap of an hour", async (t) => {
    const fleet = await startFleet(t, bao, 'bad/person')
    const { sim } = fleet
    await fleet.pass(10 * MINUTE)
    const old = fleet.key()
    const account = sim.directory.bot('fleet')
    const answer = await fetch(
      `${sim.apiUrl}/accounts/${account.accountId}/bots/${account.id}/rotate_api_key`,
      {
        method: 'POST',
        headers: { authorization: `Bearer ${sim.issueKey()}`, 'content-type': 'application/json' },
        body: JSON.stringify({ api_key_expiration: null, old_key_expires_in_seconds: 3600 }),
      },
    )
    const { api_key } = z.object({ api_key: z.object({ key: z.string() }) }).parse(await answer.json())
    sim.forgetRequests()
    await fleet.pass(10 * MINUTE)
    t.strictSame(standings(fleet).slice(0, 2), ['foreign', 'foreign'])
    for (const { broker } of fleet.machines.slice(0, 2)) {
      const events = broker.events.since(0).events.filter(({ type }) => type === 'share.foreign')
      t.equal(events.length, 1)
    }
    await fleet.leap(45 * MINUTE)
    t.strictSame(served(fleet), [old, old, old], 'readers keep serving')
    t.ok(sim.keys.authenticate(old))
    await fleet.leap(10 * MINUTE)
    t.notOk(sim.keys.authenticate(old), 'after the hour it is over')
    t.equal(mints(fleet), 0, 'no rotation of ours, and the key that was pasted elsewhere lives')
    t.ok(sim.keys.authenticate(api_key.key))
    await fleet.machines[0]?.broker.shares.adopt('prod', new Secret(api_key.key))
    await fleet.pass(2 * MINUTE)
    t.strictSame(served(fleet), [api_key.key, api_key.key, api_key.key])
    t.ok(sim.clock.now() < Date.now() + DAY)
  })
})
