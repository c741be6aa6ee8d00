/** The proxy that the daemon chooses is the one that Prefect's own client would choose, but for six spellings in NO_PROXY. */
import t from 'tap'
import { planProxyRoute, resolveProxySettings } from '../../src/prefect/way-out.js'
import { findPrefect, runPython, type Which } from '../fixtures/real-prefect.js'

const PROGRAM = new URL('./fixtures/httpx_route.py', import.meta.url).pathname

type Env = Readonly<Record<string, string>>

const PROXIES: readonly Env[] = [
  {},
  { HTTPS_PROXY: 'http://s:1' },
  { HTTP_PROXY: 'http://h:2' },
  { ALL_PROXY: 'http://a:3' },
  { ALL_PROXY: 'a:3', HTTPS_PROXY: 's:1' },
  { ALL_PROXY: 'http://a:3', HTTPS_PROXY: '' },
  { all_proxy: 'http://a:3', ALL_PROXY: 'http://b:4' },
  { HTTPS_PROXY: 'http://s:1', https_proxy: '' },
  { HTTPS_PROXY: 'http://s:1', https_proxy: '', ALL_PROXY: 'http://a:3' },
  { ALL_PROXY: 'ftp://a:3' },
  { Https_Proxy: 'http://m:5' },
]
const EXEMPT = [
  '',
  '*',
  'other.test, *',
  'prefect.cloud',
  'PREFECT.Cloud',
  'prefect.cloud.',
  '.prefect.cloud',
  '*.prefect.cloud',
  ' api.prefect.cloud ,x',
  'api.prefect.cloud:443',
  'api.prefect.cloud:8443',
  'prefect.cloud:443',
  'https://prefect.cloud',
  'http://prefect.cloud',
  'https://*.prefect.cloud',
  'https://*prefect.cloud',
  'all://prefect.cloud',
  'refect.cloud',
  '10.1.2.3',
  '10.0.0.0/8',
  '10.1.2.3/32',
  '2001:db8::1',
  '[2001:db8::1]',
  '2001:DB8::1',
  '2001:db8::/32',
  'localhost',
]
/** What we obey and httpx overlooks, or cannot start with; test/prefect/way-out.ts has what each means. */
const MEANT = [
  '*.prefect.cloud',
  '2001:DB8::1',
  '2001:db8::/32',
  '[2001:db8::1]',
  'api.prefect.cloud:443',
  'prefect.cloud:443',
]
const URLS = [
  'https://prefect.cloud/',
  'https://api.prefect.cloud/api',
  'https://api.prefect.cloud:8443/api',
  'http://api.prefect.cloud/api',
  'https://notprefect.cloud/',
  'https://10.1.2.3/api',
  'https://[2001:db8::1]/api',
  'https://a.localhost/',
]

const CASES: readonly { readonly env: Env; readonly url: string }[] = [
  ...PROXIES.flatMap((env) => URLS.map((url) => ({ env, url }))),
  ...EXEMPT.flatMap((exempt) =>
    URLS.flatMap((url) => [
      { env: { ALL_PROXY: 'http://a:3', NO_PROXY: exempt }, url },
      { env: { ALL_PROXY: 'http://a:3', NO_PROXY: 'prefect.cloud', no_proxy: exempt }, url },
    ]),
  ),
]

for (const which of ['3', '34', '2'] satisfies Which[])
  t.test(`as the httpx of Prefect ${which}`, async (t) => {
    const client = findPrefect(which, t)
    if (client === undefined) return
    const { stdout, stderr } = await runPython(client, [PROGRAM], {
      home: t.testdir(),
      stdin: JSON.stringify(CASES),
    })
    t.match(stdout, /^\[/, stderr)
    const routes: string[] = JSON.parse(stdout)
    const unlike = CASES.flatMap((one, at) => {
      const ours = ourRoute(one)
      const exempt = one.env.no_proxy ?? one.env.NO_PROXY ?? ''
      const text = `${one.url} ${JSON.stringify(one.env)}: ${ours}, httpx ${routes[at]}`
      return routes[at] === ours ? [] : { exempt, text }
    })
    t.same(
      unlike.flatMap(({ exempt, text }) => (MEANT.includes(exempt) ? [] : text)),
      [],
    )
    t.same([...new Set(unlike.map(({ exempt }) => exempt))].sort(), MEANT, 'no difference has gone')
  })

function ourRoute({ env, url }: { readonly env: Env; readonly url: string }): string {
  const route = planProxyRoute(new URL(url), resolveProxySettings(env))
  return route.kind === 'proxy' ? `proxy ${route.proxy.host}` : route.kind
}
