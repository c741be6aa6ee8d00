import t from 'tap'
import { findPage, placeOf } from '../../../src/cli/login/remote-page.js'
import { loginUrl } from '../../../src/login/target.js'

const UI = 'https://app.prefect.cloud'
const PAGE = loginUrl(UI, 'http://localhost:50123')

t.test('the page that a login prints is found, with its port', async (t) => {
  t.equal(findPage(`open this page:\n\n${PAGE}`), undefined, 'not before its line has ended')
  t.match(findPage(`open this page:\r\n\r\n${PAGE}\r\n\r\n`), {
    url: PAGE,
    place: 'https://app.prefect.cloud/auth/client',
    port: 50123,
  })
  const behindPath = loginUrl('https://prefect.example/ui/', 'http://localhost:50123/a-state')
  t.match(findPage(`${behindPath}\n`), { url: behindPath, port: 50123 })
  t.equal(findPage(`${behindPath}\n`)?.place, placeOf('https://prefect.example/ui/'))
  t.equal(placeOf(UI), 'https://app.prefect.cloud/auth/client')
  t.equal(placeOf('app.prefect.cloud'), undefined)
})

for (const [what, line] of [
  ['another page of the same site', `${UI}/logout?callback=http%3A//localhost%3A50123`],
  [
    'another page that names this one',
    `${UI}/x?y=/auth/client?callback=1&callback=http%3A//localhost%3A50123`,
  ],
  ['more than the page is asked for', `${PAGE}&redirect=%2Fsettings`],
  ['two callbacks', `${PAGE}&callback=http%3A//localhost%3A50124`],
  ['a callback to another machine', loginUrl(UI, 'http://evil.example:50123')],
  ['a callback that is no address', `${UI}/auth/client?callback=junk&g=true`],
  ['a callback without a port', loginUrl(UI, 'http://localhost')],
  ['a port that needs the rights of root', loginUrl(UI, 'http://localhost:631')],
  ['a user in the address', PAGE.replace('app.', 'app.prefect.cloud@evil.')],
] as const) {
  t.test(`not taken: ${what}`, async (t) => {
    t.equal(findPage(`${line}\n`), undefined)
    t.match(findPage(`${line}\n${PAGE}\n`), { url: PAGE }, 'and it hides no page after it')
  })
}
