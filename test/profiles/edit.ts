import t from 'tap'
import { isBrokerError } from '../../src/base/errors.js'
import { editProfiles } from '../../src/profiles/edit.js'
import type { ProfileEdit } from '../../src/profiles/profile.js'
import { parseProfiles } from '../../src/profiles/toml.js'
import { Secret } from '../../src/std/secret.js'

const URL_A = 'http://127.0.0.1:4200/api'
const lines = (...text: string[]) => `${text.join('\n')}\n`
const setUrl: ProfileEdit = { kind: 'set', name: 'a', settings: { PREFECT_API_URL: URL_A } }
const setKey: ProfileEdit = { kind: 'set', name: 'a', settings: { PREFECT_API_KEY: new Secret('pnu_new') } }
const dropKey: ProfileEdit = { kind: 'set', name: 'a', settings: { PREFECT_API_KEY: undefined } }
const use = (name: string): ProfileEdit => ({ kind: 'set_active', name })
const drop = (name: string): ProfileEdit => ({ kind: 'delete', name })
const rename = (name: string, to: string): ProfileEdit => ({ kind: 'rename', name, to })
const create = (name: string, settings: Record<string, string> = {}): ProfileEdit => ({
  kind: 'create',
  name,
  settings,
})

const FULL = lines(
  '# my profiles',
  'active = "a" # the one',
  '',
  '# about a',
  '[profiles.a]',
  'PREFECT_API_KEY = "pnu_old" # from terry',
  "PREFECT_LOGGING_LEVEL = 'DEBUG'",
  '# end of a',
  '',
  '# about b',
  '[profiles."b.c"]',
  'PREFECT_API_URL = "http://b/api"',
  '',
  '[tool.other]',
  'x = [1, 2] # unknown',
)

const cases: { name: string; text: string; edits: ProfileEdit[]; becomes: string }[] = [
  {
    name: 'a new file looks as Prefect writes it',
    text: '',
    edits: [create('cloud', { PREFECT_API_URL: URL_A }), use('cloud'), create('e')],
    becomes: lines(
      'active = "cloud"',
      '',
      '[profiles.cloud]',
      `PREFECT_API_URL = "${URL_A}"`,
      '',
      '[profiles.e]',
    ),
  },
  {
    name: 'the order of the edits does not show in a new file',
    text: '',
    edits: [use('cloud'), create('cloud', { PREFECT_API_URL: URL_A })],
    becomes: lines('active = "cloud"', '', '[profiles.cloud]', `PREFECT_API_URL = "${URL_A}"`),
  },
  {
    name: 'a value changes in its place and the comment behind it stays',
    text: FULL,
    edits: [setKey],
    becomes: FULL.replace('pnu_old', 'pnu_new'),
  },
  {
    name: 'a new setting follows the last one of its table, before the comments of the next',
    text: FULL,
    edits: [setUrl],
    becomes: FULL.replace("'DEBUG'\n", `'DEBUG'\nPREFECT_API_URL = "${URL_A}"\n`),
  },
  {
    name: 'a removed setting leaves its comment',
    text: FULL,
    edits: [dropKey],
    becomes: FULL.replace('PREFECT_API_KEY = "pnu_old" ', ''),
  },
  {
    name: 'a removed setting without a comment leaves no line',
    text: FULL,
    edits: [{ kind: 'set', name: 'b.c', settings: { PREFECT_API_URL: undefined } }],
    becomes: FULL.replace('PREFECT_API_URL = "http://b/api"\n', ''),
  },
  {
    name: 'a deleted profile leaves the comments around it',
    text: FULL,
    edits: [drop('a')],
    becomes: FULL.replace(/\[profiles\.a\]\n.*\n.*\n/, ''),
  },
  {
    name: 'a renamed active profile stays active',
    text: FULL,
    edits: [rename('a', 'z-1')],
    becomes: FULL.replace('active = "a"', 'active = "z-1"').replace('[profiles.a]', '[profiles.z-1]'),
  },
  {
    name: 'a name with a dot is quoted, wherever it stands',
    text: FULL,
    edits: [rename('b.c', 'd.e'), use('d.e')],
    becomes: FULL.replace('"b.c"', '"d.e"').replace('active = "a"', 'active = "d.e"'),
  },
  {
    name: 'a first active goes to the top, above the comment of the first table',
    text: lines('# licence', '', '# about a', '[profiles.a]'),
    edits: [use('a')],
    becomes: lines('# licence', '', 'active = "a"', '', '# about a', '[profiles.a]'),
  },
  {
    name: 'line breaks, byte order mark and indentation are those of the file',
    text: '\ufeffactive = "a"\r\n\r\n[profiles.a]\r\n  X = "1"\r\n',
    edits: [setUrl, create('b')],
    becomes: `\ufeffactive = "a"\r\n\r\n[profiles.a]\r\n  X = "1"\r\n  PREFECT_API_URL = "${URL_A}"\r\n\r\n[profiles.b]\r\n`,
  },
  {
    name: 'a file without a last line break gets one where something follows',
    text: '[profiles.a]\nX = "1"',
    edits: [setUrl],
    becomes: lines('[profiles.a]', 'X = "1"', `PREFECT_API_URL = "${URL_A}"`),
  },
  {
    name: 'an inline table under [profiles] is changed inline',
    text: lines('[profiles] # all', 'a = { PREFECT_API_KEY = "pnu_old", X = "1" } # a', 'b = {}'),
    edits: [setUrl, dropKey, drop('b')],
    becomes: lines('[profiles] # all', `a = { X = "1", PREFECT_API_URL = "${URL_A}" } # a`),
  },
  {
    name: 'a file of inline tables alone takes a new profile inline',
    text: lines('profiles = { a = {} } # all'),
    edits: [setKey, create('b', { PREFECT_API_URL: URL_A }), rename('a', 'c')],
    becomes: lines(
      `profiles = { c = { PREFECT_API_KEY = "pnu_new" }, b = { PREFECT_API_URL = "${URL_A}" } } # all`,
    ),
  },
  {
    name: 'dotted keys get another line with the same beginning',
    text: lines('profiles.a.PREFECT_API_KEY = "pnu_old" # k', 'active = "a"'),
    edits: [setUrl, dropKey, rename('a', 'b')],
    becomes: lines('# k', `profiles.b.PREFECT_API_URL = "${URL_A}"`, 'active = "b"'),
  },
  {
    name: 'a profile that exists by one dotted line stays when the line goes',
    text: lines('[profiles]', 'a.PREFECT_API_KEY = "pnu_old"'),
    edits: [dropKey],
    becomes: lines('[profiles]', 'a = {}'),
  },
  {
    name: 'a profile with tables inside goes whole',
    text: lines('[profiles.a]', 'X = "1"', '', '[other]', 'y = 1', '', '[profiles.a.deep]', 'z = 1'),
    edits: [drop('a')],
    becomes: lines('[other]', 'y = 1'),
  },
  {
    name: 'what is not there need not be removed',
    text: FULL,
    edits: [
      { kind: 'set', name: 'a', settings: { PREFECT_API_AUTH_STRING: undefined } },
      { kind: 'set', name: 'nowhere', settings: { PREFECT_API_KEY: undefined } },
    ],
    becomes: FULL,
  },
  {
    name: 'a rename to the same name is no change',
    text: FULL,
    edits: [rename('a', 'a')],
    becomes: FULL,
  },
  {
    name: 'names from the attic of JavaScript are names like any other',
    text: lines('[profiles.__proto__]', 'X = "1"', '', '[profiles.a]'),
    edits: [create('constructor', { PREFECT_API_URL: URL_A }), rename('a', 'toString'), drop('__proto__')],
    becomes: lines('[profiles.toString]', '', '[profiles.constructor]', `PREFECT_API_URL = "${URL_A}"`),
  },
]

for (const { name, text, edits, becomes } of cases) {
  t.test(name, async (t) => {
    t.equal(editProfiles(text, edits), becomes)
  })
}

const key = (value: string): ProfileEdit => ({ kind: 'set', name: 'a', settings: { PREFECT_API_KEY: value } })
const refusals: { name: string; text: string; edit: ProfileEdit; code: string }[] = [
  { name: 'a file that is not TOML', text: 'active = "a\n', edit: setUrl, code: 'profiles_file_invalid' },
  {
    name: 'profiles that are a list',
    text: '[[profiles]]\nx = 1\n',
    edit: setUrl,
    code: 'profiles_file_invalid',
  },
  {
    name: 'TOML 1.1, which Prefect can not read',
    text: 'a = {\n b = 1 }\n',
    edit: create('x'),
    code: 'profiles_file_invalid',
  },
  { name: 'a profile that exists', text: FULL, edit: create('a'), code: 'profile_exists' },
  {
    name: 'a rename over another',
    text: `${FULL}[profiles.z]\n`,
    edit: rename('a', 'z'),
    code: 'profile_exists',
  },
  { name: 'a rename of nothing', text: FULL, edit: rename('q', 'z'), code: 'profile_not_found' },
  { name: 'a deletion of nothing', text: FULL, edit: drop('q'), code: 'profile_not_found' },
  { name: 'an active profile that is nowhere', text: FULL, edit: use('q'), code: 'profile_not_found' },
  { name: 'a name with a path in it', text: '', edit: create('../x'), code: 'profile_name_invalid' },
  { name: 'a name with a line break', text: FULL, edit: rename('a', 'b\n[x]'), code: 'profile_name_invalid' },
  { name: 'a key with a line break', text: FULL, edit: key('pnu_x"\nactive = "evil'), code: 'key_malformed' },
  {
    name: 'a URL with a line break',
    text: FULL,
    edit: { kind: 'set', name: 'a', settings: { PREFECT_API_URL: 'http://x/\r\nY' } },
    code: 'api_url_invalid',
  },
  {
    name: 'a setting that old clients choke on',
    text: FULL,
    edit: create('n', { PREFECT_API_AUTH_STRING: 'u:p' }),
    code: 'internal',
  },
]

for (const { name, text, edit, code } of refusals) {
  t.test(`refused: ${name}`, async (t) => {
    try {
      editProfiles(text, [edit])
      t.fail('was accepted')
    } catch (error) {
      if (!isBrokerError(error)) throw error
      t.equal(error.code, code)
      t.notMatch(`${error.message} ${error.hint}`, /pnu_|evil/, 'tells no value')
    }
  })
}

t.test('a file whose last profile is deleted is not taken for one that lost its text', async (t) => {
  for (const text of [
    '[profiles.one]\nPREFECT_API_URL = "x"\n',
    'profiles.one.a = "b"',
    '\n\n[profiles.one]\n\n',
  ]) {
    const edited = editProfiles(text, [{ kind: 'delete', name: 'one' }])
    t.not(edited.trim(), '', JSON.stringify(text))
    t.match(parseProfiles(edited), { kind: 'good', file: { profiles: new Map() } })
  }
})
