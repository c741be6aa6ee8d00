import t from 'tap'
import { editProfiles } from '../../src/profiles/edit.js'
import type { ProfileFile } from '../../src/profiles/profile.js'
import { isUtf16 } from '../../src/profiles/reading.js'
import { parseProfiles } from '../../src/profiles/toml.js'

function good(text: string): ProfileFile {
  const parsed = parseProfiles(text)
  if (parsed.kind === 'invalid') throw new Error(parsed.problem)
  return parsed.file
}

t.test('reads names, order, secrets and settings', async (t) => {
  const file = good(`
active = 'b.c'
[profiles.z]
[profiles."b.c"]
PREFECT_API_URL = "http://x/api"
PREFECT_API_KEY = "pnu_x"
PREFECT_API_AUTH_STRING = "u:p"
[profiles]
inline = { PREFECT_API_URL = "http://y/api" }
dotted.PREFECT_API_URL = "http://z/api"
`)
  t.equal(file.active, 'b.c')
  t.strictSame([...file.profiles.keys()], ['z', 'b.c', 'inline', 'dotted'])
  const entry = file.profiles.get('b.c')
  t.strictSame({ ...entry?.settings }, { PREFECT_API_URL: 'http://x/api' }, 'secrets are no settings')
  t.equal(entry?.apiKey?.reveal(), 'pnu_x')
  t.equal(entry?.authString?.reveal(), 'u:p')
  t.equal(file.profiles.get('dotted')?.settings.PREFECT_API_URL, 'http://z/api')
})

t.test('leaves out what is missing', async (t) => {
  t.strictSame(good(''), { profiles: new Map() })
  t.strictSame(good('active = "x"\n'), { active: 'x', profiles: new Map() })
  t.equal(
    good('[profiles.a]\nPREFECT_API_KEY = ""\n').profiles.get('a')?.apiKey?.length,
    0,
    'an empty key is set',
  )
})

const natives: [toml: string, text: string][] = [
  ['true', 'True'],
  ['false', 'False'],
  ['12', '12'],
  ['9223372036854775807', '9223372036854775807'],
  ['60.0', '60.0'],
  ['0.2', '0.2'],
  ['2020-01-01', '2020-01-01'],
  ['[1, 2]', '[…]'],
  ['{ a = 1 }', '{…}'],
]

t.test('reads native values as Prefect 2 does, and marks them', async (t) => {
  for (const [toml, text] of natives) {
    const entry = good(`[profiles.a]\nS = ${toml}\n`).profiles.get('a')
    t.equal(entry?.settings.S, text)
    t.strictSame(entry?.notStrings, ['S'])
  }
  t.equal(good('[profiles.a]\nPREFECT_API_KEY = 12\n').profiles.get('a')?.apiKey?.reveal(), '12')
})

t.test('leaves out secrets that a header cannot carry, and names them', async (t) => {
  const entry = good(
    '[profiles.a]\nPREFECT_API_KEY = "a\\nb"\nPREFECT_API_AUTH_STRING = "u:p\\u0000"\n',
  ).profiles.get('a')
  t.strictSame(entry?.unusable, ['PREFECT_API_KEY', 'PREFECT_API_AUTH_STRING'])
  t.equal(entry?.apiKey, undefined)
  t.equal(entry?.authString, undefined)
})

t.test('is not polluted by names such as __proto__', async (t) => {
  const file = good(
    '__proto__ = 1\n[profiles.__proto__]\nPREFECT_API_URL = "http://evil/api"\n[profiles.a]\n__proto__ = "x"\nconstructor = "y"\n',
  )
  t.equal(Object.hasOwn(Object.prototype, 'PREFECT_API_URL'), false)
  t.strictSame([...file.profiles.keys()], ['__proto__', 'a'])
  t.equal(file.profiles.get('a')?.settings.PREFECT_API_URL, undefined)
  t.equal(file.profiles.get('a')?.settings.toString, undefined, 'what is not set is not there')
  t.equal(file.profiles.get('a')?.settings.constructor, 'y')
})

const SECRET = 'pnu_0123456789'
const invalid: [name: string, text: string, problem: string][] = [
  [
    'a key without quotes',
    `[profiles.a]\nPREFECT_API_KEY = ${SECRET}\n`,
    'is not valid TOML at line 2, column 19',
  ],
  ['half a file', `[profiles.a]\nPREFECT_API_KEY = "${SECRET}`, 'is not valid TOML at line 2, column 19'],
  ['the same table twice', '[profiles.a]\n[profiles.a]\n', 'is not valid TOML at line 2, column 2'],
  ['an active that is a number', 'active = 1\n', "has an 'active' that is not a string"],
  ['profiles that are a list', '[[profiles]]\na = 1\n', "has a 'profiles' that is not a table"],
  [
    'a profile that is a value',
    `profiles.a = "${SECRET}"\n`,
    "has something under 'profiles' that is not a table",
  ],
  ['a bomb of brackets', `a = ${'['.repeat(500_000)}`, 'is not valid TOML at line 1, column 25'],
  ['a bomb of tables', `a = ${'{a='.repeat(200_000)}`, 'is not valid TOML at line 1, column '],
  ['too many bytes', `# ${'é'.repeat(600_000)}`, 'is larger than 1 MiB'],
]

t.test('reports invalid text by its position, never its content', async (t) => {
  for (const [name, text, problem] of invalid) {
    const parsed = parseProfiles(text)
    t.match(parsed.kind === 'invalid' ? parsed.problem : 'good', problem, name)
  }
})

const BOMBS: readonly (readonly [name: string, text: string])[] = [
  ['200 000 open brackets', `a = ${'['.repeat(200_000)}`],
  ['nested arrays that are closed', `a = ${'['.repeat(100_000)}${']'.repeat(100_000)}`],
  ['a path of 50 000 parts', `${'a.'.repeat(50_000)}b = 1`],
  ['a table of 50 000 parts', `[${'a.'.repeat(50_000)}b]\nc = 1`],
  ['30 000 open braces', `a = ${'{ a = '.repeat(30_000)}`],
  ['5 000 profiles', Array.from({ length: 5_000 }, (_, at) => `[profiles.p${at}]\na = "b"`).join('\n')],
  ['a file of 60 MB', `# ${'x'.repeat(60_000_000)}`],
]
for (const [name, text] of BOMBS) {
  t.test(`outlives ${name}, when it reads and when it edits`, async (t) => {
    const { kind } = parseProfiles(text)
    t.equal(kind, name.endsWith('profiles') ? 'good' : 'invalid')
    const edit = () => editProfiles(text, [{ kind: 'create', name: 'x', settings: {} }])
    if (kind === 'invalid') t.throws(edit, { code: 'profiles_file_invalid' })
    else t.match(edit(), /\[profiles\.x\]\n?$/)
  })
}

t.test('a key with blanks around it is the key, and that it has them is said', (t) => {
  for (const text of [' pnu_a', 'pnu_a ', 'pnu_a\\n', '\\tpnu_a']) {
    const entry = good(`[profiles.a]\nPREFECT_API_KEY = "${text}"\n`).profiles.get('a')
    t.equal(entry?.apiKey?.reveal(), 'pnu_a', JSON.stringify(text))
    t.strictSame(entry?.trimmed, ['PREFECT_API_KEY'])
  }
  const inner = good('[profiles.a]\nPREFECT_API_KEY = "pnu_a b"\n').profiles.get('a')
  t.strictSame([inner?.apiKey, inner?.unusable, inner?.trimmed], [undefined, ['PREFECT_API_KEY'], undefined])
  t.end()
})

t.test('UTF-16 is told from UTF-8', (t) => {
  const text = 'active = "a"\n'
  const little = Buffer.from(text, 'utf16le')
  const big = Buffer.from(little).swap16()
  const mark = Buffer.from([0xff, 0xfe])
  for (const bytes of [little, big, Buffer.concat([mark, little])]) t.equal(isUtf16(bytes), true)
  for (const plain of ['', 'a', 'ab', text, `\ufeff${text}`]) t.equal(isUtf16(Buffer.from(plain)), false)
  t.end()
})
