import fc from 'fast-check'
import t from 'tap'
import { isBrokerError } from '../../src/base/errors.js'
import {
  inferCloudUiUrl,
  isCloudApiUrl,
  isPageUrl,
  normaliseApiUrl,
  workspaceIdsOf,
} from '../../src/prefect/api-url.js'

const A = '9b649228-0419-40e1-9e0d-44954b5c0ab6'
const W = 'd137367a-5055-44ff-b91c-6f7366c9e4c4'
const API = 'https://api.prefect.cloud/api'
const FULL = `${API}/accounts/${A}/workspaces/${W}`
const PAGE = `https://app.prefect.cloud/account/${A}/workspace/${W}`
const defaults = { cloudApiUrl: API }

const normalised: [name: string, text: string, becomes: string][] = [
  ['an API URL is taken as it is', FULL, FULL],
  ['a trailing slash goes', `${FULL}//`, FULL],
  ['ids become lower case', FULL.replace(A, A.toUpperCase()), FULL],
  ['space around it goes', `  ${FULL}\n`, FULL],
  ['a page of a workspace', PAGE, FULL],
  ['a page below a workspace, with a query', `${PAGE}/runs/flow-run/x?entity_id=1#top`, FULL],
  ['the mixed form of the documentation', PAGE.replace('/workspace/', '/workspaces/'), FULL],
  ['the page path on the API host', `https://api.prefect.cloud/account/${A}/workspace/${W}`, ''],
  ['a private cloud', PAGE.replace('app.', 'app.private.'), FULL.replace('api.', 'api.private.')],
  ['a server of our own', 'http://127.0.0.1:4200/api/', 'http://127.0.0.1:4200/api'],
  ['a server behind a path', 'https://prefect.example.com/team/api', 'https://prefect.example.com/team/api'],
  ['the host in lower case', 'HTTPS://Prefect.Example.com/api', 'https://prefect.example.com/api'],
  ['no URL', 'prefect/terry', ''],
  ['another scheme', 'ftp://x/api', ''],
  ['no scheme', 'api.prefect.cloud/api', ''],
  ['a page without a workspace', 'https://app.prefect.cloud/my/profile', ''],
  ['a page of an account', `https://app.prefect.cloud/account/${A}/settings`, ''],
  ['a password inside', 'https://terry:secret@x/api', ''],
  ['a line break inside', 'https://x/api\nPREFECT_API_KEY=y', ''],
  ['a tab inside', 'https://x/\tapi', ''],
  ['a query', 'https://x/api?y=1', ''],
]

for (const [name, text, becomes] of normalised) {
  t.test(`${becomes === '' ? 'refused' : 'normalised'}: ${name}`, async (t) => {
    try {
      t.equal(normaliseApiUrl(text, defaults), becomes)
    } catch (error) {
      if (!isBrokerError(error, 'api_url_invalid')) throw error
      t.equal(becomes, '', error.message)
      t.notMatch(error.message, /secret|PREFECT_API_KEY/, 'the message does not repeat what was typed')
    }
  })
}

t.test('maps a page of the configured UI to its API', async (t) => {
  const own = { cloudApiUrl: 'http://127.0.0.1:4321/api', cloudUiUrl: 'http://127.0.0.1:4322' }
  t.equal(
    normaliseApiUrl(`http://127.0.0.1:4322/account/${A}/workspace/${W}/dashboard`, own),
    `http://127.0.0.1:4321/api/accounts/${A}/workspaces/${W}`,
  )
})

t.test('normalising twice changes nothing', async (t) => {
  fc.assert(
    fc.property(fc.webUrl(), (url) => {
      const once = normaliseApiUrl(url, defaults)
      return normaliseApiUrl(once, defaults) === once
    }),
  )
  t.pass()
})

const clouds: [apiUrl: string, cloudApiUrl: string, isCloud: boolean][] = [
  [FULL, API, true],
  [API, API, true],
  ['https://API.prefect.cloud/api', API, false],
  ['http://127.0.0.1:4200/api', API, false],
  ['http://127.0.0.1:4200/api/accounts/x', 'http://127.0.0.1:4200/api', true],
  ['http://localhost:4200/api', 'http://127.0.0.1:4200/api', false],
  // The attacks: a prefix that is not the same host.
  ['https://api.prefect.cloud.evil.example/api', 'https://api.prefect.cloud', false],
  ['https://api.prefect.cloud@evil.example/api', 'https://api.prefect.cloud', false],
  ['http://127.0.0.1:42001/api', 'http://127.0.0.1:4200', false],
]

t.test('recognizes Cloud by its URL prefix, on the same host', async (t) => {
  for (const [apiUrl, cloudApiUrl, isCloud] of clouds) {
    t.equal(isCloudApiUrl(apiUrl, cloudApiUrl), isCloud, `${apiUrl} under ${cloudApiUrl}`)
  }
})

const uis: [api: string, ui: string][] = [
  [API, 'https://app.prefect.cloud'],
  ['https://api.private.prefect.cloud/api', 'https://app.private.prefect.cloud'],
  ['https://api.stg.prefect.dev/api', 'https://app.stg.prefect.dev'],
  ['http://127.0.0.1:4321/api', 'http://127.0.0.1:4321'],
  ['https://api.example.com/api', 'https://api.example.com'],
]

t.test('infers the UI from the API as Prefect 3.9 does', async (t) => {
  for (const [api, ui] of uis) t.equal(inferCloudUiUrl(api), ui)
})

t.test('distinguishes pages from APIs', async (t) => {
  t.ok(isPageUrl(PAGE, defaults))
  t.ok(isPageUrl('https://app.prefect.cloud/', defaults))
  t.ok(isPageUrl(`https://prefect.example.com/account/${A}/workspace/${W}`, defaults))
  t.notOk(isPageUrl(FULL, defaults))
  t.notOk(isPageUrl('http://127.0.0.1:4200/api', defaults))
})

t.test('ids are found in singular and plural, and only whole ones', async (t) => {
  t.strictSame(workspaceIdsOf(FULL), { accountId: A, workspaceId: W })
  t.strictSame(workspaceIdsOf(`${PAGE.toUpperCase()}/X`), { accountId: A, workspaceId: W })
  t.equal(workspaceIdsOf(`${FULL}0`), undefined)
  t.equal(workspaceIdsOf(API), undefined)
})
