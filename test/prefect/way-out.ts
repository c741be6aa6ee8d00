/** The way to a host, as Prefect's own client would take it, but never out of the machine for loopback. */
import t from 'tap'
import { isLoopbackHost, planProxyRoute, resolveProxySettings } from '../../src/prefect/way-out.js'

const PROXY = { httpsProxy: 'http://proxy:3128' }

const NO_PROXY: readonly (readonly [url: string, noProxy: string, kind: string])[] = [
  ['https://api.prefect.cloud', '', 'proxy'],
  ['https://api.prefect.cloud', '*', 'direct'],
  ['https://api.prefect.cloud', 'other.example, *', 'direct'],
  ['https://api.prefect.cloud', 'prefect.cloud', 'direct'],
  ['https://api.prefect.cloud', 'PREFECT.cloud', 'direct'],
  ['https://prefect.cloud', '.prefect.cloud', 'proxy'],
  ['https://api.prefect.cloud', '.prefect.cloud', 'direct'],
  ['https://api.prefect.cloud', '*.prefect.cloud', 'direct'],
  ['https://notprefect.cloud', 'prefect.cloud', 'proxy'],
  ['https://example.com', 'example.com:443', 'direct'],
  ['https://example.com:8443', 'example.com:443', 'proxy'],
  ['https://example.com', 'https://example.com', 'direct'],
  ['https://example.com', 'http://example.com', 'proxy'],
  ['https://api.example.com', 'https://example.com', 'proxy'],
  ['https://api.example.com', 'https://*example.com', 'direct'],
  ['https://api.example.com', 'all://example.com', 'proxy'],
  ['https://a.localhost', 'localhost', 'proxy'],
  ['https://10.1.2.3', '10.1.2.3', 'direct'],
  ['https://10.1.2.3', '10.1.2.3/8', 'direct'],
  ['https://10.1.2.3', '10.0.0.0/8', 'proxy'],
  ['https://[2001:db8::1]', '2001:db8::1', 'direct'],
  ['https://[2001:db8::1]', '2001:DB8::1', 'direct'],
  ['https://[2001:db8::1]', '[2001:db8::1]:443', 'direct'],
  ['https://[2001:db8::1]', '2001:db8::2', 'proxy'],
  ['https://127.0.0.1:4280', '', 'direct'],
  ['http://localhost:4280', '', 'direct'],
  ['https://[::1]:4280', '', 'direct'],
]

for (const [url, noProxy, kind] of NO_PROXY) {
  t.test(`${url} with NO_PROXY=${noProxy} goes ${kind}`, async (t) =>
    t.equal(planProxyRoute(new URL(url), { ...PROXY, noProxy }).kind, kind),
  )
}

t.test('ALL_PROXY serves where HTTPS_PROXY is silent, HTTPS_PROXY goes first', async (t) => {
  const url = new URL('https://api.prefect.cloud')
  t.match(planProxyRoute(url, { allProxy: 'all:1', httpProxy: 'h:2' }), { proxy: { host: 'all:1' } })
  t.match(planProxyRoute(url, { allProxy: 'all:1', httpsProxy: 's:3' }), { proxy: { host: 's:3' } })
  t.equal(planProxyRoute(url, { httpProxy: 'h:2' }).kind, 'direct')
})

t.test('a proxy we cannot use is named by its variable and never repeated', async (t) => {
  const url = new URL('https://api.prefect.cloud')
  const socks = planProxyRoute(url, { allProxy: 'socks5://user:hunter2@proxy:1080' })
  t.match(socks, { kind: 'unusable', problem: /ALL_PROXY names a socks5 proxy/ })
  const junk = planProxyRoute(url, { httpsProxy: 'http://user:hunter2@[bad' })
  t.match(junk, { kind: 'unusable', problem: /HTTPS_PROXY is not a URL/ })
  t.notMatch(JSON.stringify([socks, junk]), 'hunter2')
})

t.test('the lower-case name wins, also where it is empty', async (t) => {
  t.strictSame(
    resolveProxySettings({
      HTTPS_PROXY: 'a',
      https_proxy: 'b',
      HTTP_PROXY: 'c',
      http_proxy: '',
      NO_PROXY: 'd',
    }),
    { httpsProxy: 'b', noProxy: 'd' },
  )
  t.strictSame(resolveProxySettings({ Https_Proxy: 'a', HTTP_PROXY: '', Http_Proxy: 'b' }), {
    httpsProxy: 'a',
    httpProxy: 'b',
  })
  t.strictSame(resolveProxySettings({ Https_Proxy: 'a', https_proxy: '' }), {})
  t.strictSame(resolveProxySettings({}), {})
})

t.test('what is loopback, and what only looks so', async (t) => {
  for (const host of ['127.0.0.1', '127.255.0.9', '[::1]', 'localhost']) t.ok(isLoopbackHost(host), host)
  for (const host of [
    '127.0.0.1.example.com',
    'localhost.example.com',
    '128.0.0.1',
    '0.0.0.0',
    '[::2]',
    'notlocalhost',
  ]) {
    t.notOk(isLoopbackHost(host), host)
  }
})
