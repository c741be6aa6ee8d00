/** The page a login opens, and the origin that may answer. */
import t from 'tap'
import { loginUrl, uiOrigin } from '../../src/login/target.js'

t.test("builds the URL byte for byte as Prefect's clients do", async (t) => {
  for (const [ui, callback, expected] of [
    [
      'https://app.prefect.cloud',
      'http://localhost:40123',
      'https://app.prefect.cloud/auth/client?callback=http%3A//localhost%3A40123&g=true',
    ],
    [
      'https://app.prefect.cloud/',
      'http://localhost:1/a-b_c',
      'https://app.prefect.cloud/auth/client?callback=http%3A//localhost%3A1/a-b_c&g=true',
    ],
  ] as const) {
    t.equal(loginUrl(ui, callback), expected)
  }
})

t.test('derives the origin as a browser does', async (t) => {
  t.equal(uiOrigin('https://app.prefect.cloud/some/path'), 'https://app.prefect.cloud')
  t.equal(uiOrigin('HTTPS://App.Prefect.Cloud:443'), 'https://app.prefect.cloud')
  t.equal(uiOrigin('http://127.0.0.1:4200'), 'http://127.0.0.1:4200')
  for (const bad of ['', 'app.prefect.cloud', 'file:///x', 'javascript:1', 'data:text/html,x']) {
    t.throws(() => uiOrigin(bad), { code: 'api_url_invalid' }, bad)
  }
})
