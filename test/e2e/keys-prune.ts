/** `keys prune` explains old keys, and ends at Prefect only what nothing serves and no process holds. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { startShipped } from '../fixtures/shipped.js'

t.setTimeout(600_000)

t.test('old keys, from the first look to their end', async (t) => {
  const sim = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry'] }],
    keyListing: true,
  })
  t.teardown(() => sim.close())
  const broker = await startShipped(t, { PREFECT_CLOUD_API_URL: sim.apiUrl, PREFECT_CLOUD_UI_URL: sim.uiUrl })
  const run = async (...args: readonly string[]) => {
    const ran = await broker.cli(args)
    t.equal(ran.code, 0, `${args.join(' ')}: ${ran.stderr}`)
    return ran
  }
  const prune = async (...more: readonly string[]) =>
    JSON.parse((await run('keys', 'prune', '--json', ...more)).stdout).keys
  const served = async () => JSON.parse((await run('env', '--json')).stdout).PREFECT_API_KEY
  const login = ['login', '--key-stdin', '--exchange', '--workspace', 'prefect/terry']
  t.equal((await broker.cli(login, { input: sim.issueKey({ name: 'pasted' }) })).code, 0)
  // As another machine of the same person has one.
  const foreign = sim.issueKey({ name: 'of another machine' })
  t.same(await prune(), [], 'nothing is old yet')

  const first = await served()
  const holder = spawn('sleep', ['600'], { env: { PATH: process.env.PATH ?? '', PREFECT_API_KEY: first } })
  t.teardown(() => holder.kill('SIGKILL'))
  await once(holder, 'spawn')
  await run('renew', '--now')
  const before = await served()
  await run('renew', '--now')
  const current = await served()
  t.equal(new Set([first, before, current]).size, 3)
  const state = (key: string) => sim.keys.find(key)?.deletedAt === undefined
  const id = (key: string) => sim.keys.find(key)?.id

  const look = await prune()
  const byId = new Map(look.map((key: { id: string; outcome: string; why?: string }) => [key.id, key]))
  t.equal(byId.size, 2, 'those that a newer one replaced, and no other')
  t.match(byId.get(id(first)), { outcome: 'kept', why: new RegExp(`process ${holder.pid} \\(sleep\\)`) })
  t.match(byId.get(id(before)), { outcome: 'would_end', last_given_at: /^20/ })
  t.ok([first, before, current, foreign].every(state), 'a look changes nothing')
  const shown = await run('keys', 'prune')
  t.match(shown.stdout, /2 keys of ours that a newer one replaced:/)
  t.match(shown.stderr, /To end the keys: prefect-auth keys prune --yes\n$/)
  t.match((await run('keys', 'ls')).stdout, /LAST GIVEN/)

  const ended = await prune('--yes')
  t.match(
    ended.find((key: { id: string }) => key.id === id(before)),
    { outcome: 'deleted' },
  )
  t.same([first, before, current, foreign].map(state), [true, false, true, true])
  t.equal(await served(), current)

  holder.kill('SIGKILL')
  await once(holder, 'exit')
  t.match(await prune('--yes'), [{ id: id(first), outcome: 'deleted' }])
  t.same([first, before, current, foreign].map(state), [false, false, true, true])
  t.same(await prune('--yes'), [], 'and then there is nothing left to do')
  t.equal((await broker.cli(['exec', '--', 'true'])).code, 0)
})
