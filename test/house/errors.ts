/** Error codes: what the code has and what docs/errors.md says are one list. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { ERROR_CODES } from '../../src/base/errors.js'
import { problem } from '../../src/wire/common.js'
import { ERROR_KINDS } from '../../src/wire/kinds.js'
import { sourceFiles } from '../fixtures/source-files.js'

const text = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8')
const [ofDaemon = '', ofClient = ''] = text.split('## Codes of the command line')
const readRows = (part: string) => [...part.matchAll(/^\| `(\w+)` \| (\w+) \| (.+) \| (.+) \|$/gm)]
const rows = readRows(ofDaemon)
const clientRows = readRows(ofClient)

t.test('docs/errors.md has every code with its kind, once, and no other', async (t) => {
  t.strictSame(
    rows.map(([, code]) => code),
    Object.keys(ERROR_CODES),
    'in the order of the code',
  )
  const kinds = Object.entries(ERROR_CODES).map(([code, { kind }]) => [code, kind])
  t.strictSame(Object.fromEntries(rows.map(([, code, kind]) => [code, kind])), Object.fromEntries(kinds))
})

t.test('so it has those of the command line', async (t) => {
  const code = sourceFiles('src/cli', 'src/client').map((file) => file.code)
  const used = [...code.join('\n').matchAll(/code: '(\w+)',\s+kind: '(\w+)'/g)]
  const own = new Map(used.map(([, name = '', kind]) => [name, kind]))
  for (const name of Object.keys(ERROR_CODES)) own.delete(name)
  t.same(Object.fromEntries(clientRows.map(([, name, kind]) => [name, kind])), Object.fromEntries(own))
})

t.test('each says when it occurs and what to do', async (t) => {
  for (const [, code, , when = '', help = ''] of [...rows, ...clientRows]) {
    t.ok(when.trim().length > 10, `${code}: when`)
    t.ok(help.trim().length >= 6, `${code}: what to do`)
  }
})

t.test('the kinds on the wire are the kinds inside', async (t) => {
  t.strictSame(problem.shape.kind.options, [...ERROR_KINDS])
  const used = new Set<string>(Object.values(ERROR_CODES).map(({ kind }) => kind))
  t.strictSame(
    ERROR_KINDS.filter((kind) => !used.has(kind)),
    [],
    'and each has a code',
  )
})

t.test('every code is used', async (t) => {
  const code = sourceFiles('src')
    .filter(({ path }) => path !== 'src/base/errors.ts')
    .map((file) => file.code)
    .join('\n')
  const unused = Object.keys(ERROR_CODES).filter((name) => !code.includes(`'${name}'`))
  t.strictSame(unused, [])
})
