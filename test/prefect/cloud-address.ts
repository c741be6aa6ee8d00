/** Where a key may be sent, and what an id may not do to a path. */
import t from 'tap'
import { parseCloudAddress, pathSegment } from '../../src/prefect/way-out.js'

const GOOD: readonly (readonly [base: string, url: string])[] = [
  ['https://api.prefect.cloud/api', 'https://api.prefect.cloud/api/me/'],
  ['https://api.prefect.cloud/api/', 'https://api.prefect.cloud/api/me/'],
  ['http://127.0.0.1:4200/api', 'http://127.0.0.1:4200/api/me/'],
  ['http://localhost:4200/api', 'http://localhost:4200/api/me/'],
  ['http://[::1]:4200/api', 'http://[::1]:4200/api/me/'],
  ['http://127.1/api', 'http://127.0.0.1/api/me/'],
]
for (const [base, url] of GOOD) {
  t.test(`${base} is dialed`, async (t) => t.equal(parseCloudAddress(base, '/me/').href, url))
}

const BAD = [
  'http://api.prefect.cloud/api',
  'http://127.0.0.1.example.com/api',
  'http://localhost@api.example.com/api',
  'http://2130706433.example.com/api',
  'http://10.0.0.1/api',
  'ws://127.0.0.1/api',
  'file:///etc/passwd',
  'https://user:hunter2@api.prefect.cloud/api',
  'https://api.prefect.cloud/api?x=1',
  'https://api.prefect.cloud/api#x',
  'api.prefect.cloud',
  '',
]
for (const base of BAD) {
  t.test(`'${base}' gets no key`, async (t) => {
    t.throws(() => parseCloudAddress(base, '/me/'), {
      code: 'api_url_invalid',
      hint: /PREFECT_CLOUD_API_URL/,
    })
  })
}

t.test('an id that would change the path is no id', async (t) => {
  const naive = new URL(`https://h/api/users/u/api_keys/${encodeURIComponent('..')}`)
  t.equal(naive.pathname, '/api/users/u/', 'encoding alone turns the deletion of a key into another deletion')
  for (const id of ['..', '.', '', 'a/b', 'a%2fb', 'a?b', 'x'.repeat(101)]) {
    t.throws(() => pathSegment(id), { code: 'prefect_not_found' }, id)
  }
  t.equal(pathSegment('0d1f-Ab_9'), '0d1f-Ab_9')
})
