/** Rules for every file: it starts with what it is, is short, and has no type tricks. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { VERSION } from '../../src/bin/version.js'
import { sourceFiles } from '../fixtures/source-files.js'

const MAX_LINES = 300

t.test('every file starts with a comment that says what it is', async (t) => {
  for (const { path, text } of sourceFiles('src', 'sim')) {
    if (path === 'src/bin/auth.ts' || text.startsWith('/**')) continue
    t.fail(`${path} begins with ${JSON.stringify(text.slice(0, 40))}`)
  }
})

t.test('no file is too long', async (t) => {
  const tooLong = sourceFiles('src', 'sim').filter(({ text }) => text.split('\n').length - 1 > MAX_LINES)
  t.strictSame(
    tooLong.map(({ path, text }) => `${path}: ${text.split('\n').length - 1}`),
    [],
  )
})

t.test('no meaningless file names, no barrels', async (t) => {
  const bad = sourceFiles('src', 'sim').filter(({ path }) =>
    /\/(?:index|utils?|helpers?|services|misc|types)\.ts$/.test(path),
  )
  t.strictSame(
    bad.map(({ path }) => path),
    [],
  )
})

/** Not forbidden by the compiler (`erasableSyntaxOnly`) or by biome. */
const TRICKS: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['a cast', /[\w)\]}"'`] as (?!const\b)[A-Za-z{[(]/],
  ['any', /[:<,|&]\s*any\b(?!\s*:)/],
  ['a non-null assertion', /[\w)\]]!(?=[.;,)\]])/],
  ['a suppressed error', /@ts-(?:ignore|expect-error|nocheck)/],
  ['a default export', /^export default /m],
  ['CommonJS', /\brequire\(''/],
  ['a star export', /^export \* from/m],
]

t.test('no casts, no any, no assertions, no default exports', async (t) => {
  const found = sourceFiles('src', 'sim').flatMap(({ path, code }) => {
    const plain = withoutText(code)
    return TRICKS.filter(([, pattern]) => pattern.test(plain)).map(([name]) => `${path}: ${name}`)
  })
  t.strictSame(found, [])
})

t.test('two classes are enough', async (t) => {
  const classes = sourceFiles('src').flatMap(({ code }) =>
    [...withoutText(code).matchAll(/^(?:export )?(?:abstract )?class (\w+)/gm)].map(([, name]) => name),
  )
  t.strictSame(classes.sort(), ['BrokerError', 'Secret'])
})

t.test('version.ts says what package.json says', async (t) => {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  t.match(manifest, { version: VERSION })
})

/** Removes strings, which may contain anything, and imports and exports, which rename with `as`. */
function withoutText(code: string): string {
  return code
    .replace(/^(?:import|export) (?:type )?(?:\w+, )?\{[^}]*\}(?: from '[^']*')?/gm, '')
    .replace(/^import \* as \w+ from/gm, '')
    .replace(/"(?:[^"\\\n]|\\.)*"/g, "''")
    .replace(/'(?:[^'\\\n]|\\.)*'/g, "''")
    .replace(/`(?:[^`\\]|\\.)*`/g, '``')
}
