/** Every route states its power, stands in docs/api.md under it, and names only error codes that there are. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { buildApp } from '../../src/api/app.js'
import { ERROR_CODES } from '../../src/base/errors.js'
import { POWERS } from '../../src/tokens/access.js'
import { createFakeBroker } from '../fixtures/fake-broker.js'

const text = readFileSync(new URL('../../docs/api.md', import.meta.url), 'utf8')

/** `### \`GET /v1/status\`` and what follows, up to the next heading. */
const sections = new Map(
  text.split(/^(?=###? )/m).flatMap((section) => {
    const [, heading] = /^### `([A-Z]+ \/[^`]*)`\n/.exec(section) ?? []
    return heading === undefined ? [] : [[heading, section] as const]
  }),
)

t.test(
  'every route stands in docs/api.md with its power and its answer, and nothing else does',
  async (t) => {
    const app = await buildApp(createFakeBroker().deps)
    t.teardown(() => app.close())
    const routes = new Map(
      app.routes.map((route) => [`${route.method} ${route.url.replace(/:(\w+)/g, '{$1}')}`, route]),
    )
    t.same([...sections.keys()].sort(), [...routes.keys()].sort())
    for (const [heading, route] of routes) {
      const section = sections.get(heading) ?? ''
      t.match(section, `Power: \`${route.needs}\`\n`, heading)
      t.match(section, 'Answer:', `${heading} says what it answers`)
      if (route.schema.body !== undefined || route.schema.querystring !== undefined) {
        t.match(section, 'Request:', `${heading} says what it takes`)
      }
      t.ok(route.needs === 'none' || POWERS.includes(route.needs), heading)
    }
  },
)

t.test('liveness alone needs no token, and only what reads may be asked with one', async (t) => {
  const app = await buildApp(createFakeBroker().deps)
  t.teardown(() => app.close())
  t.same(
    app.routes.filter(({ needs }) => needs === 'none').map(({ url }) => url),
    ['/livez'],
  )
  for (const { method, url, needs } of app.routes) {
    if (method !== 'GET') t.equal(needs, 'admin', `${method} ${url} changes something`)
  }
})

t.test('the page may ask for what docs/api.md says, and change nothing else', async (t) => {
  const app = await buildApp(createFakeBroker().deps)
  t.teardown(() => app.close())
  const onPage = app.routes.filter((route) => route.onPage)
  const names = onPage.map(({ method, url }) => `${method} ${url.replace(/:(\w+)/g, '{$1}')}`)
  const [, listed = ''] = /^## The page\n([\s\S]*?)^### /m.exec(text) ?? []
  t.same([...listed.matchAll(/`([A-Z]+ \/[^`]+)`/g)].map(([, name]) => name).sort(), names.sort())
  t.same(
    names.filter((name) => !name.startsWith('GET ')),
    ['DELETE /v1/tokens/{id}', 'POST /v1/asks/{id}'],
  )
})

t.test('the errors of every section are codes that there are', async (t) => {
  for (const [heading, section] of sections) {
    const [, errors = ''] = /^Errors: ([\s\S]*?)(?:\n\n|$)/m.exec(section) ?? []
    const named = [...errors.matchAll(/`([a-z_]+)`/g)].map(([, code = '']) => code)
    for (const code of named) if (!Object.hasOwn(ERROR_CODES, code)) t.fail(`${heading} names ${code}`)
  }
  t.ok(sections.size > 30)
})
