/** Traffic as `GET /v1/status` and `/metrics` report it, to each caller only its own. */
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { status } from '../../src/wire/status.js'
import { ask } from '../fixtures/api-under-test.js'
import { bodyOf, startProxy, startUpstream } from '../fixtures/proxy-under-test.js'

t.test('counts requests, bytes and parked requests by profile and token name', async (t) => {
  const { url } = await startUpstream(t, (request, response) => {
    void bodyOf(request).then(() => response.end('12345'))
  })
  const proxy = await startProxy(t, url)
  const { broker, tcp, socket } = proxy
  const read = async (token?: string) =>
    status.parse(
      JSON.parse(
        (
          await ask(token === undefined ? socket : tcp, '/v1/status', {
            ...(token === undefined ? {} : { token }),
          })
        ).text,
      ),
    ).proxy
  t.same(await read(), [], 'nothing yet')

  const worker = await broker.token('proxy', ['cloud'])
  await ask(tcp, `${proxy.base}/flows`, { token: worker, method: 'POST', body: '{"a":1}' })
  await ask(tcp, `${proxy.base}/flows`, { token: worker })
  await ask(socket, '/proxy/server/api/flows')
  broker.refuse('server', new BrokerError('login_required', 'there is no key'))
  await ask(socket, '/proxy/server/api/flows')

  const name = broker.deps.tokens.recognise(worker)?.name
  t.match(await read(), [
    { profile: 'cloud', token: name, requests: 2, bytes_up: 7, bytes_down: 10, sockets: 0, replays: 0 },
    { profile: 'server', requests: 1, parked: 1 },
  ])
  const { text } = await ask(socket, '/metrics')
  for (const line of [
    `prefect_auth_proxy_requests_total{profile="cloud",token="${name}"} 2`,
    `prefect_auth_proxy_bytes_total{profile="cloud",token="${name}",direction="up"} 7`,
    `prefect_auth_proxy_bytes_total{profile="cloud",token="${name}",direction="down"} 10`,
    `prefect_auth_proxy_sockets{profile="cloud",token="${name}"} 0`,
    `prefect_auth_proxy_replays_total{profile="cloud",token="${name}"} 0`,
    'prefect_auth_proxy_parked_total{profile="server",token=""} 1',
  ]) {
    t.ok(text.split('\n').includes(line), line)
  }

  const other = await broker.token('inspect', ['server'])
  t.match(await read(other), [{ profile: 'server' }])
  t.equal((await read(other)).length, 1, 'the traffic of other profiles is nobody else’s')
  t.notMatch((await ask(tcp, '/metrics', { token: other })).text, 'profile="cloud"')
})

t.test('counts the time of a parked request too', async (t) => {
  const proxy = await startProxy(t, 'http://127.0.0.1:9')
  proxy.broker.refuse('cloud', new BrokerError('login_required', 'there is no key'))
  const before = Date.now()
  await ask(proxy.socket, `${proxy.base}/flows`)
  const [line] = proxy.app.proxyTraffic()
  t.ok(line !== undefined && line.parked === 1 && line.lastAt >= before)
})
