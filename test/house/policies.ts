/** The page about policies says of each policy and each kind of operation what the code says. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { parseOperation } from '../../src/policy/names.js'
import { describePolicies } from '../../src/policy/policy.js'
import { EFFECTS } from '../../src/wire/kinds.js'

const page = readFileSync(new URL('../../docs/policies.md', import.meta.url), 'utf8')

t.test('the page has each policy with its sentence and its kinds of operation', async (t) => {
  const rows = describePolicies().map(
    ({ name, sentence, effects }) => `| \`${name}\` | ${sentence} | ${effects.join(', ')} |`,
  )
  t.same(
    page.split('\n').filter((line) => rows.includes(line)),
    rows,
  )
})

t.test('the page explains each kind of operation, in order', async (t) => {
  const section = page.slice(page.indexOf('## How operations are classified'))
  const explained = [...section.matchAll(/^\| (\w+) \| \w.{20,} \|$/gm)].map(([, kind]) => kind)
  t.same(explained, EFFECTS)
})

t.test('operations on the page are in the table', async (t) => {
  const named = [...page.matchAll(/`(?:--\w+ ")?((?:GET|POST|PATCH|PUT|DELETE) \/[^`"]*)"?`/g)].map(
    ([, name = '']) => name,
  )
  const others = named.filter((name) => !name.includes(' /v1/'))
  t.ok(others.length >= 3)
  for (const name of others) t.equal(parseOperation(name).kind, 'known', name)
})
