/** Schemas that are checked without zod: of every module that a start loads, on values good and bad, as zod itself decides. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import t from 'tap'
import { z } from 'zod'
import type { Step } from '../../src/std/plain-checks.js'
import { createPlainSchemas } from '../../src/std/plain-schemas.js'
import { sourceFiles } from '../fixtures/source-files.js'

/** As the build says: these always have zod itself. */
const ZODS_OWN = /^src\/(?:api|http|page|wire|cli|client)\/|^src\/login\/callback-app\.ts$/

/** What a schema of ours may meet: each kind of value, at and beside every limit and form that is in use. */
const VALUES: readonly unknown[] = [
  ...[
    undefined,
    null,
    true,
    false,
    'true',
    'false',
    0,
    -0,
    1,
    2,
    3,
    4,
    -1,
    1.5,
    65_535,
    65_536,
    2 ** 53,
    1e17,
  ],
  ...[
    -8.64e15,
    8.64e15,
    8.65e15,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    new Date(0),
    10n,
    /x/,
    () => 'x',
    Symbol.iterator,
  ],
  ...['', 'x', 'a'.repeat(64), 'a'.repeat(65), 'a'.repeat(10_000), 'a'.repeat(10_001), 'é', '\ud800', 'x\ny'],
  ...[
    'off',
    '10s',
    '15m',
    '30d',
    '366d',
    '1h',
    '4280',
    '65536',
    ' 1',
    '/x',
    'x/y',
    'GET /x',
    'DELETE /bots/{id}',
  ],
  ...[
    'https://x',
    'https://x:1/',
    'http://localhost:1',
    'http://x',
    'env:A',
    'file:/a',
    'credential:.',
    'a:1',
    'a,b',
    ' a , b ',
  ],
  ...[
    '8b1a9953-c461-4e2c-9d2c-7a4cf1d9a111',
    '8B1A9953-C461-4E2C-9D2C-7A4CF1D9A111',
    '00000000-0000-0000-0000-000000000000',
    '8b1a9953-c461-9e2c-9d2c-7a4cf1d9a111',
  ],
  ...[
    '2026-01-02T03:04:05.678Z',
    '2026-01-02T03:04:05Z',
    '2026-02-30T03:04:05.678Z',
    '2026-01-02T03:04:05.678+01:00',
  ],
  ...[
    'vault-8b1a9953',
    'A'.repeat(16),
    `${'A'.repeat(22)}==`,
    `${'A'.repeat(43)}=`,
    'A===',
    '=AAA',
    'AA=A',
    'AAA',
  ],
  ...['user', 'pnu_0123456789', 'scrypt', 'file', 'keychain', 'vault', 'token', 'given', 'done', 'socket'],
  ...[
    [],
    [1],
    ['x'],
    ['x', 1],
    [undefined],
    [[]],
    {},
    { x: 1 },
    { kind: 'user' },
    Object.create(null),
    new Map(),
  ],
]

interface Made {
  readonly schema: object
  readonly step: Step
}

/** Every schema that the modules make, however deep inside another. */
async function loadSchemas() {
  const made: object[] = []
  const plain = createPlainSchemas(
    () => z,
    (schema) => made.push(schema),
  )
  const files = sourceFiles('src').filter(
    ({ path }) =>
      !ZODS_OWN.test(path) && /^import \{[^}]*\bz\b[^}]*\} from 'zod'/m.test(readFileSync(path, 'utf8')),
  )
  const folder = mkdtempSync(join(tmpdir(), 'pab-plain-'))
  const outfile = join(folder, 'modules.cjs')
  try {
    await build({
      ...{ bundle: true, platform: 'node', format: 'cjs', outfile, logLevel: 'error', external: ['keytar'] },
      stdin: { contents: files.map(({ path }) => `import './${path}'`).join('\n'), resolveDir: '.' },
      treeShaking: false,
      plugins: [
        {
          name: 'plain',
          setup({ onResolve, onLoad }) {
            onResolve({ filter: /^zod$/ }, ({ importer }) =>
              ZODS_OWN.test(importer.slice(process.cwd().length + 1))
                ? undefined
                : { path: 'z', namespace: 'z' },
            )
            onLoad({ filter: /./, namespace: 'z' }, () => ({
              contents: 'export const z = globalThis.plainZ',
            }))
          },
        },
      ],
    })
    Object.assign(globalThis, { plainZ: plain.z })
    createRequire(import.meta.url)(outfile)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  const steps = made.flatMap((schema): Made[] => {
    const step = plain.stepsOf(schema)
    return step === undefined ? [] : [{ schema, step }]
  })
  return { plain, steps, files }
}

type Plain = Awaited<ReturnType<typeof loadSchemas>>

/** The same schema, made by zod. */
function realOf({ plain }: Pick<Plain, 'plain'>, step: Step): z.ZodType {
  const arg = (value: unknown): unknown => {
    const inner = plain.stepsOf(value)
    if (inner !== undefined) return realOf({ plain }, inner)
    if (Array.isArray(value)) return value.map(arg)
    const isShape =
      typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
    return isShape ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, arg(one)])) : value
  }
  let from: unknown = step.of === undefined ? z : realOf({ plain }, step.of)
  let owner: unknown
  for (const name of step.name.split('.')) {
    owner = from
    from = Reflect.get(Object(from), name)
  }
  if (typeof from !== 'function') throw new TypeError(step.name)
  const made: unknown = Reflect.apply(from, owner, step.args.map(arg))
  if (made instanceof z.ZodType) return made
  throw new TypeError(`${step.name} makes no schema`)
}

/** Objects for schemas of objects: whole, and then with one thing wrong, missing or too much in each. */
function* objectsFor(loaded: Plain, shape: Readonly<Record<string, unknown>>): Generator<unknown> {
  const good = new Map<string, unknown>()
  for (const [name, schema] of Object.entries(shape)) {
    const step = loaded.plain.stepsOf(schema)
    if (step === undefined) continue
    const real = realOf(loaded, step)
    const value = [...valuesFor(loaded, step)].find((one) => one !== undefined && real.safeParse(one).success)
    if (value !== undefined) good.set(name, value)
  }
  const whole = Object.fromEntries(good)
  yield whole
  yield { ...whole, more: 1 }
  yield JSON.parse(`${JSON.stringify(whole).slice(0, -1)}${good.size > 0 ? ',' : ''}"__proto__":{"x":1}}`)
  yield Object.assign(Object.create({ inherited: 1 }), whole)
  for (const name of good.keys()) {
    const { [name]: _, ...without } = whole
    yield without
    for (const value of [undefined, null, 1, 'x', [], {}]) yield { ...whole, [name]: value }
  }
}

function* valuesFor(loaded: Plain, step: Step): Generator<unknown> {
  yield* VALUES
  const [first, second] = step.args
  if (step.name === 'enum' || step.name === 'literal') yield* Array.isArray(first) ? first : [first]
  for (const inner of [
    first,
    second,
    ...(Array.isArray(first) ? first : []),
    ...(Array.isArray(second) ? second : []),
  ]) {
    const innerStep = loaded.plain.stepsOf(inner)
    if (innerStep === undefined) continue
    const values = [...valuesFor(loaded, innerStep)]
    yield* values
    const real = realOf(loaded, innerStep)
    const good = values.find((one) => real.safeParse(one).success)
    yield [good]
    yield [good, good, 'x', null]
    yield { a: good, b: good }
    yield JSON.parse('{"__proto__":1}')
  }
  const shape = isObjectStep(step) && typeof first === 'object' && first !== null ? first : undefined
  if (shape !== undefined) yield* objectsFor(loaded, { ...shape })
  if (step.of !== undefined) yield* valuesFor(loaded, step.of)
}

const isObjectStep = ({ name }: Step) => ['object', 'strictObject', 'looseObject', 'extend'].includes(name)

t.test('plain code says of no value what zod does not say', async (t) => {
  const loaded = await loadSchemas()
  t.ok(loaded.files.length > 10, 'the modules that a start loads')
  t.ok(loaded.steps.length > 200, 'and their schemas')
  const counts = { valid: 0, refused: 0, unsure: 0 }
  for (const { schema, step } of loaded.steps) {
    const real = realOf(loaded, step)
    for (const value of valuesFor(loaded, step)) {
      const said = loaded.plain.check(schema, value)
      counts[said.kind] += 1
      if (said.kind === 'unsure') continue
      const decided = real.safeParse(value)
      const name = `${step.name} ${step.of?.name ?? ''}`
      if (decided.success !== (said.kind === 'valid')) t.fail(name, { value, said, decided })
      else if (said.kind === 'valid' && decided.success) compare(said.value, decided.data, name)
    }
  }
  t.comment(counts)
  t.ok(counts.valid > 5_000 && counts.refused > 5_000, 'it knows enough to be worth it')

  function compare(found: unknown, wanted: unknown, name: string): void {
    if (Object.is(found, wanted)) return
    const [kind, wantedKind] = [found, wanted].map((one) => one && Object.getPrototypeOf(one))
    if (kind !== wantedKind) t.fail(`${name}: of another kind`)
    // Not by the order of fields alone: what is written to the disk has it.
    if (JSON.stringify(found) === JSON.stringify(wanted) && t.strictSame(found, wanted, name)) return
    t.fail(name, { found, wanted })
  }
})
