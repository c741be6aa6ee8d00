/** Killed between store and verify, then started behind something that is not Prefect: the only living key is not forgotten. */
import t from 'tap'
import type { Fault } from '../../sim/faults/faults.js'
import { DAY, setRenewalStage } from '../fixtures/renewal-stage.js'

const MINUTE = 60_000

const body = (status: number, body: unknown): Fault => ({ kind: 'status', status, body })

const NETWORKS: Readonly<Record<string, Fault>> = {
  'a login page': { kind: 'html' },
  'an empty page': { kind: 'html', page: '' },
  'a redirect': body(302, 'moved'),
  '400': { kind: 'html', status: 400 },
  '401 of a proxy': { kind: 'html', status: 401 },
  '403 of a firewall': { kind: 'html', status: 403 },
  '404 of a router': { kind: 'html', status: 404 },
  '401 in JSON of a proxy': body(401, { error: 'authenticate' }),
  "Prefect's own 400": body(400, { detail: 'no' }),
  "Prefect's own 401": body(401, { detail: 'Invalid authentication credentials' }),
  "Prefect's own 403": body(403, { detail: 'IP not allowed' }),
  "Prefect's own 404": body(404, { detail: 'Not Found' }),
  'an empty list': body(200, []),
  '503': body(503, { detail: 'later' }),
}

for (const [name, fault] of Object.entries(NETWORKS)) {
  t.test(`restarted behind ${name}`, async (t) => {
    const stage = await setRenewalStage(t)
    const { sim, broker, old } = stage
    // The verification never ends: killed in the middle of it.
    const hold = sim.faults.always({ path: '/api/me/workspaces' }, { kind: 'reset', when: 'before' })
    await stage.finish(broker.rotator.rotate('cloud').catch(() => undefined))
    const minted = sim.keys
      .all()
      .find(
        ({ name, deletedAt }) =>
          name !== 'browser' && deletedAt === undefined && sim.keys.find(old)?.name !== name,
      )
    t.ok(minted)
    hold.disarm()
    sim.keys.revoke(old)
    stage.pass(DAY)
    const foreign = sim.faults.always({}, fault)
    const again = await stage.reopen()
    await stage.finish(again.recover())
    for (let round = 0; round < 30; round += 1) {
      stage.pass(MINUTE)
      await stage.finish(again.renewer.tick())
      await stage.finish(again.rotator.recover())
    }
    const held = Object.values(again.keeper.ledger().keys).map(({ fingerprint }) => fingerprint)
    t.ok(held.includes(minted?.fingerprint ?? ''), 'it is kept')
    t.equal(sim.keys.find(old)?.deletedAt === undefined, false)
    foreign.disarm()
    for (let round = 0; round < 30; round += 1) {
      stage.pass(MINUTE)
      await stage.finish(again.rotator.recover())
      await stage.finish(again.renewer.tick())
    }
    await again.credentials.settle()
    t.ok(sim.keys.authenticate(again.served() ?? ''), 'and served in the end')
  })
}
