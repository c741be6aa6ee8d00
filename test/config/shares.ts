import t from 'tap'
import { resolveSettings } from '../../src/config/settings.js'

const GOOD = `[share.prod]
store = "vault"
url = "https://v.example:8200/"
path = "secret/prefect/prod"
rotate = true
rotate_with = "admin"
[share.prod.auth]
kind = "approle"
role_id = "x"
secret_id = "file:/run/x"
`
const resolve = (text: string) => resolveSettings({ flags: {}, env: {}, file: { path: 'config.toml', text } })

t.test('a share has its store, its place and its way in', async (t) => {
  t.match(resolve(GOOD), {
    kind: 'settings',
    shares: {
      prod: {
        ...{
          store: 'vault',
          url: 'https://v.example:8200',
          mount: 'secret',
          path: 'prefect/prod',
          rotateWith: 'admin',
        },
        auth: { kind: 'approle', mount: 'approle', secretId: { kind: 'file', path: '/run/x' } },
      },
    },
  })
  const auths: readonly (readonly [string, unknown])[] = [
    ['kind = "token"\ntoken = "env:T"', { kind: 'token', token: { kind: 'env', name: 'T' } }],
    ['kind = "token"\ntoken = "credential:t"', { token: { kind: 'credential', name: 't' } }],
    ['kind = "kubernetes"\nrole = "r"', { mount: 'kubernetes', jwt: { kind: 'file' } }],
    ['kind = "cert"\ncert_file = "/c"\nkey_file = "/k"', { mount: 'cert', certFile: '/c', keyFile: '/k' }],
  ]
  for (const [text, auth] of auths) {
    t.match(resolve(`${GOOD.split('kind')[0]}${text}\n`), { shares: { prod: { auth } } }, text)
  }
})

t.test('what is wrong with a share is named, and never the value', async (t) => {
  const rows: readonly (readonly [string, string, RegExp])[] = [
    ['plain HTTP to another host', GOOD.replace('https', 'http'), /url is not valid: expected https/],
    ['a password in the address', GOOD.replace('v.example', 'u:hvs.secret@v.example'), /url is not valid/],
    ['an unknown way in', GOOD.replace('approle', 'ldap'), /auth\.kind is not valid/],
    [
      'a secret in the file itself',
      GOOD.replace('file:/run/x', 'hvs.secret'),
      /auth\.secret_id .*"env:NAME"/,
    ],
    [
      'who rotates, without saying that it may',
      GOOD.replace('rotate = true\n', ''),
      /rotate_with is not valid/,
    ],
    ['an unknown setting', GOOD.replace('url', 'uri'), /unknown setting uri/],
    ['no path in the mount', GOOD.replace('secret/prefect/prod', 'secret'), /path is not valid/],
    ['a path out of the mount', GOOD.replace('secret/prefect', 'secret/..'), /path is not valid/],
    ['two shares on one path', GOOD + GOOD.replaceAll('share.prod', 'share.two'), /have the same path/],
    ['a name that is none', GOOD.replaceAll('share.prod', 'share."a b"'), /a name has letters/],
    ['no table', 'share = 3', /unknown setting share/],
  ]
  for (const [title, text, message] of rows) {
    const outcome = resolve(text)
    if (outcome.kind !== 'problems') {
      t.fail(title)
      continue
    }
    const said = outcome.problems.map((problem) => problem.message).join('\n')
    t.match(said, message, title)
    t.notMatch(said, 'hvs.secret', title)
  }
  t.match(
    resolve(GOOD.replace('https://v.example:8200/', 'http://127.0.0.1:8200')),
    { kind: 'settings' },
    'loopback',
  )
})
