/** Random files and random edits: what is asked is what stands there afterwards, and no comment is lost. */
import { strict as assert } from 'node:assert'
import { spawnSync } from 'node:child_process'
import fc from 'fast-check'
import t from 'tap'
import { editProfiles } from '../../src/profiles/edit.js'
import type { ProfileEdit } from '../../src/profiles/profile.js'
import { parseProfiles } from '../../src/profiles/toml.js'
import { findPrefect } from '../fixtures/real-prefect.js'

/** What a file should say: the settings of each profile, and the comments that go when it is deleted. */
interface Model {
  active: string | undefined
  profiles: Map<string, { settings: Record<string, string>; comments: string[] }>
}

const shapes = ['table', 'quoted', 'inline', 'dotted'] as const
const strings = [
  (text: string) => `"${text}"`,
  (text: string) => `'${text}'`,
  (text: string) => `"""${text}"""`,
  (text: string) => `"\\u0061${text}"`,
]

const profileSeed = fc.record({
  shape: fc.constantFrom(...shapes),
  settings: fc.uniqueArray(fc.constantFrom('PREFECT_API_URL', 'PREFECT_API_KEY', 'PREFECT_X', 'Y.z'), {
    maxLength: 4,
  }),
  style: fc.nat({ max: strings.length - 1 }),
  comments: fc.nat({ max: 31 }),
  blank: fc.nat({ max: 2 }),
  indent: fc.constantFrom('', '  ', '\t'),
})
const fileSeed = fc.record({
  active: fc.constantFrom('none', 'first', 'gone'),
  profiles: fc.array(profileSeed, { maxLength: 5 }),
  isSuper: fc.boolean(),
  isTailless: fc.boolean(),
  lineBreak: fc.constantFrom('\n', '\r\n'),
  mark: fc.constantFrom('', '\ufeff'),
})
const editSeeds = fc.array(
  fc.record({
    kind: fc.constantFrom('set_active', 'create', 'set', 'remove', 'delete', 'rename'),
    which: fc.nat({ max: 5 }),
    value: fc.stringMatching(/^[!-~]{0,20}$/),
  }),
  { maxLength: 6 },
)

function build(seed: typeof fileSeed extends fc.Arbitrary<infer T> ? T : never): {
  text: string
  model: Model
} {
  let count = 0
  const comment = () => `# comment-${count++}-`
  const model: Model = { active: undefined, profiles: new Map() }
  const root: string[] = []
  const tables: string[] = []
  const inSuper: string[] = []
  seed.profiles.forEach(({ shape, settings, style, comments, blank, indent }, index) => {
    const isDotted = shape === 'dotted' && settings.length > 0
    const name = shape === 'quoted' ? `p.${index} x` : `p${index}`
    const keyName = shape === 'quoted' ? `"${name}"` : name
    const own: string[] = []
    const tail = (bit: number) => {
      if ((comments & bit) === 0) return ''
      const text = comment()
      own.push(text)
      return ` ${text}`
    }
    const values = Object.fromEntries(
      settings.filter((s) => s !== 'Y.z').map((s) => [s, style === 3 ? `a${s}` : s]),
    )
    const pairs = settings.map((s) => `${s} = ${s === 'Y.z' ? '1' : strings[style]?.(s)}`)
    const target = seed.isSuper ? inSuper : root
    const prefix = seed.isSuper ? '' : 'profiles.'
    if (isDotted) for (const pair of pairs) target.push(`${indent}${prefix}${keyName}.${pair}${tail(1)}`)
    else if (shape === 'inline') target.push(`${prefix}${keyName} = { ${pairs.join(', ')} }${tail(1)}`)
    else {
      if ((comments & 8) !== 0) tables.push(comment())
      tables.push(`[profiles.${keyName}]${tail(1)}`)
      pairs.forEach((pair, at) => {
        if ((comments & 2) !== 0 && at > 0) tables.push(tail(2))
        tables.push(`${indent}${pair}${tail(4)}`)
      })
      if ((comments & 16) !== 0) tables.push(comment())
      tables.push(...Array.from({ length: blank }, () => ''))
    }
    model.profiles.set(name, {
      settings: { ...values, ...(settings.includes('Y.z') ? { Y: '{…}' } : {}) },
      comments: own,
    })
  })
  if (seed.active !== 'none')
    model.active = seed.active === 'first' ? ([...model.profiles.keys()][0] ?? 'gone') : 'gone'
  const all = [
    comment(),
    ...(model.active === undefined ? [] : [`active = "${model.active}" ${comment()}`]),
    'unknown = [1, # inside',
    ' 2]',
    ...root,
    ...(inSuper.length > 0 ? [`[profiles] ${comment()}`, ...inSuper] : []),
    ...tables,
    '[tool.else] # kept',
    'date = 2020-01-01',
  ]
  return { text: seed.mark + all.join(seed.lineBreak) + (seed.isTailless ? '' : seed.lineBreak), model }
}

/** The edit that a seed means for this model, and the model after it; nothing where it would be refused. */
function plan(
  model: Model,
  seed: { kind: string; which: number; value: string },
  at: number,
): ProfileEdit | undefined {
  const names = [...model.profiles.keys()]
  const name = names[seed.which % Math.max(names.length, 1)]
  const profile = name === undefined ? undefined : model.profiles.get(name)
  const fresh = `new-${at}`
  if (seed.kind === 'create') {
    model.profiles.set(fresh, { settings: { PREFECT_API_URL: seed.value }, comments: [] })
    return { kind: 'create', name: fresh, settings: { PREFECT_API_URL: seed.value } }
  }
  if (name === undefined || profile === undefined) return undefined
  switch (seed.kind) {
    case 'set_active':
      model.active = name
      return { kind: 'set_active', name }
    case 'set':
      profile.settings.PREFECT_API_KEY = seed.value
      return { kind: 'set', name, settings: { PREFECT_API_KEY: seed.value } }
    case 'remove':
      delete profile.settings.PREFECT_API_URL
      delete profile.settings.PREFECT_X
      return { kind: 'set', name, settings: { PREFECT_API_URL: undefined, PREFECT_X: undefined } }
    case 'delete':
      model.profiles.delete(name)
      return { kind: 'delete', name }
    default:
      model.profiles.delete(name)
      model.profiles.set(fresh, profile)
      if (model.active === name) model.active = fresh
      return { kind: 'rename', name, to: fresh }
  }
}

function said(text: string): unknown {
  const parsed = parseProfiles(text)
  if (parsed.kind === 'invalid') return parsed.problem
  const profiles = [...parsed.file.profiles.values()].map(({ name, settings, apiKey }) => [
    name,
    { ...settings, ...(apiKey === undefined ? {} : { PREFECT_API_KEY: apiKey.reveal() }) },
  ])
  return { active: parsed.file.active, profiles: Object.fromEntries(profiles) }
}

t.test('any file, any edits: the result says what was asked and keeps every comment', async (t) => {
  const written: string[] = []
  fc.assert(
    fc.property(fileSeed, editSeeds, (seed, seeds) => {
      const { text, model } = build(seed)
      const before = [...text.matchAll(/# (?:comment-\d+-|inside|kept)/g)].map(([found]) => found)
      const originals = new Set([...model.profiles.values()])
      const edits = seeds.flatMap((one, at) => plan(model, one, at) ?? [])
      const edited = editProfiles(text, edits)
      assert.deepEqual(said(edited), {
        active: model.active,
        profiles: Object.fromEntries([...model.profiles].map(([name, { settings }]) => [name, settings])),
      })
      const living = new Set(model.profiles.values())
      const gone = new Set(
        [...originals].filter((profile) => !living.has(profile)).flatMap(({ comments }) => comments),
      )
      const lost = before.filter((found) => !gone.has(found) && !edited.includes(found))
      if (lost.length > 0) throw new Error(`lost ${lost.join()} in ${edited}`)
      if (edited.includes('\r\n') !== text.includes('\r\n')) throw new Error('line breaks changed')
      if (/[^\r]\n/.test(edited) && /\r\n/.test(text)) throw new Error('line breaks are mixed')
      if (seed.mark !== '' && !edited.startsWith(seed.mark)) throw new Error('the byte order mark is gone')
      written.push(edited.replace(/^\ufeff/, ''))
    }),
    { numRuns: 400 },
  )
  t.equal(written.length, 400)
  const client = findPrefect('3', t)
  if (client === undefined) return
  const script =
    'import json,sys,tomllib\nfor text in json.load(sys.stdin): tomllib.loads(text)\nprint("all read")'
  const python = spawnSync(client.python, ['-c', script], {
    input: JSON.stringify(written),
    encoding: 'utf8',
  })
  t.equal(python.stdout.trim(), 'all read', `Python reads every result ${python.stderr.slice(-300)}`)
})
