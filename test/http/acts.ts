import { request } from 'node:http'
import t from 'tap'
import { ask, startApi } from '../fixtures/api-under-test.js'

t.test('what is done for a caller who has gone is under way until it is done', async (t) => {
  const api = await startApi(t)
  let finish: () => void = () => undefined
  let begun: () => void = () => undefined
  const isBegun = new Promise<void>((resolve) => {
    begun = resolve
  })
  const { profiles } = api.broker.deps
  profiles.logout = () => {
    begun()
    return new Promise((resolve) => {
      finish = () => resolve({ forgotten: [], revoked: [], notRevoked: [] })
    })
  }
  const sent = request({
    ...api.socket,
    method: 'POST',
    path: '/v1/profiles/cloud/logout',
    headers: { host: 'authd' },
  })
  sent.on('error', () => undefined).end()
  await isBegun
  sent.destroy()
  while (api.app.presence().connections > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  t.equal(api.app.presence().acts, 1)
  finish()
  while (api.app.presence().acts > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  t.equal((await ask(api.socket, '/livez')).status, 200)
  t.equal(api.app.presence().acts, 0, 'who only looks is not counted')
})
