import t from 'tap'
import { isBrokerError } from '../../src/base/errors.js'
import {
  isBundledProfileName,
  isUnknownToPrefect2,
  requireNewProfileName,
  shownName,
  shownSettings,
} from '../../src/profiles/bundled.js'
import type { ProfileFile, ResolvedProfile } from '../../src/profiles/profile.js'
import { activeProfileName, listProfiles, resolveProfile } from '../../src/profiles/resolve.js'
import { parseProfiles } from '../../src/profiles/toml.js'

const A = '9b649228-0419-40e1-9e0d-44954b5c0ab6'
const W = 'd137367a-5055-44ff-b91c-6f7366c9e4c4'
const API = 'https://api.prefect.cloud/api'
const FULL = `${API}/accounts/${A}/workspaces/${W}`
const LOCAL = 'http://127.0.0.1:4200/api'
const defaults = { cloudApiUrl: API }

function read(text: string): ProfileFile {
  const parsed = parseProfiles(text)
  if (parsed.kind === 'invalid') throw new Error(parsed.problem)
  return parsed.file
}

function resolve(text: string, requested?: string): ResolvedProfile {
  return resolveProfile({ file: read(text), defaults, ...(requested === undefined ? {} : { requested }) })
}

/** One active profile `p` with these lines. */
function profile(...lines: string[]): ResolvedProfile {
  return resolve(['active = "p"', '[profiles.p]', ...lines].join('\n'))
}

/** What of a profile is compared; `undefined`: it must not be there. */
type Expected = { [K in keyof ResolvedProfile]?: ResolvedProfile[K] | undefined }

const choices: {
  name: string
  text: string
  requested?: string
  is: Expected
  warning?: RegExp
}[] = [
  {
    name: 'the active one',
    text: `active = "a"\n[profiles.a]\nPREFECT_API_URL = "${FULL}"\n`,
    is: {
      name: 'a',
      source: 'file',
      isActive: true,
      apiUrl: FULL,
      because: "profile 'a' is active in profiles.toml",
    },
  },
  {
    name: 'the one asked for, before the active one',
    text: 'active = "a"\n[profiles.a]\n[profiles.b]\n',
    requested: 'b',
    is: { name: 'b', isActive: false, because: "profile 'b' is in profiles.toml" },
  },
  { name: 'an empty wish is none', text: 'active = "a"\n[profiles.a]\n', requested: '', is: { name: 'a' } },
  {
    name: 'no file',
    text: '',
    is: {
      name: 'ephemeral',
      source: 'bundled',
      kind: 'none',
      because: "profiles.toml names no active profile, so Prefect uses its built-in 'ephemeral'",
    },
  },
  {
    name: 'an active one that is nowhere',
    text: 'active = "gone"\n[profiles.a]\n',
    is: {
      name: 'ephemeral',
      kind: 'none',
      because:
        "profiles.toml names 'gone' as active, which does not exist, so Prefect uses its built-in 'ephemeral'",
    },
    warning: /names 'gone' as active, but there is no such profile; run: prefect-auth profile use NAME/,
  },
  {
    name: 'no active one, and a table of the one that counts then',
    text: `[profiles.ephemeral]\nPREFECT_API_URL = "${LOCAL}"\n`,
    is: { name: 'ephemeral', source: 'file', kind: 'server' },
    warning: /Prefect itself ignores the table of 'ephemeral' unless 'active' names it/,
  },
  {
    name: 'no active one, and the default of Prefect 2',
    text: `[profiles.default]\nPREFECT_API_URL = "${LOCAL}"\n`,
    is: { name: 'ephemeral', kind: 'none' },
    warning: /Prefect 2 would use the profile 'default' here/,
  },
  {
    name: 'active local without a table, as `prefect profile use local` leaves it',
    text: 'active = "local"\n',
    is: { name: 'local', source: 'bundled', kind: 'server', apiUrl: LOCAL },
    warning: /Prefect itself runs as 'ephemeral' until the file has a table for the profile 'local'/,
  },
  {
    name: 'local, asked for',
    text: '',
    requested: 'local',
    is: {
      name: 'local',
      source: 'bundled',
      kind: 'server',
      apiUrl: LOCAL,
      because: "profile 'local' is built into Prefect",
    },
  },
  {
    name: 'a table lies over the bundled profile, also an empty one',
    text: 'active = "local"\n[profiles.local]\n',
    is: { source: 'file', kind: 'server', apiUrl: LOCAL },
  },
  {
    name: 'the default of Prefect 2',
    text: 'active = "default"\n',
    is: { name: 'default', source: 'bundled', kind: 'none' },
  },
]

for (const { name, text, requested, is, warning } of choices) {
  t.test(`chosen: ${name}`, async (t) => {
    const resolved = resolve(text, requested)
    t.match(resolved, is)
    if (warning === undefined) t.strictSame(resolved.warnings, [])
    else t.match(resolved.warnings.join('\n'), warning)
  })
}

t.test('rejects an unknown profile and lists the existing ones', async (t) => {
  try {
    resolve('[profiles."mine\\n"]\n', 'yours\u001b[2J')
    t.fail('was found')
  } catch (error) {
    if (!isBrokerError(error, 'profile_not_found')) throw error
    t.match(error.message, /^there is no profile 'yours .*'; existing profiles: 'mine', 'ephemeral', 'local'/)
    t.notMatch(error.message, /\p{Cc}/u)
    t.equal(error.hint, 'prefect-auth profile ls')
  }
})

t.test('lists profiles of the file first, exactly one of them active', async (t) => {
  const list = listProfiles({ file: read('active = "b"\n[profiles.b]\n[profiles.local]\n'), defaults })
  t.strictSame(
    list.map(({ name, source, isActive }) => [name, source, isActive]),
    [
      ['b', 'file', true],
      ['local', 'file', false],
      ['ephemeral', 'bundled', false],
      ['test', 'bundled', false],
      ['cloud', 'bundled', false],
      ['default', 'bundled', false],
    ],
  )
  t.equal(activeProfileName(read('')), 'ephemeral')
})

const kinds: { name: string; lines: string[]; is: Expected; warning?: RegExp }[] = [
  {
    name: 'a workspace of Cloud',
    lines: [`PREFECT_API_URL = "${FULL}"`],
    is: {
      kind: 'cloud',
      workspace: { accountId: A, workspaceId: W },
      cloudUiUrl: 'https://app.prefect.cloud',
    },
  },
  { name: 'a server', lines: [`PREFECT_API_URL = "${LOCAL}"`], is: { kind: 'server', workspace: undefined } },
  { name: 'nothing', lines: [], is: { kind: 'none', apiUrl: undefined } },
  { name: 'a URL set to nothing', lines: ['PREFECT_API_URL = ""'], is: { kind: 'none', apiUrl: undefined } },
  {
    name: 'a Cloud of its own',
    lines: [
      'PREFECT_CLOUD_API_URL = "https://cloud.example/api/"',
      'PREFECT_API_URL = "https://cloud.example/api/x"',
    ],
    is: { kind: 'cloud', cloudApiUrl: 'https://cloud.example/api', cloudUiUrl: 'https://cloud.example' },
    warning: /names no workspace/,
  },
  {
    name: "a Cloud by Prefect 2's old name",
    lines: [
      'PREFECT_CLOUD_URL = "https://cloud.example/api"',
      `PREFECT_API_URL = "https://cloud.example/api/accounts/${A}/workspaces/${W}"`,
    ],
    is: { kind: 'cloud', cloudApiUrl: 'https://cloud.example/api' },
    warning: /PREFECT_CLOUD_URL is an old name that Prefect 3 ignores/,
  },
  {
    name: 'an empty Cloud URL, which is a prefix of everything',
    lines: ['PREFECT_CLOUD_API_URL = ""', 'PREFECT_API_URL = "https://evil.example/api"'],
    is: { kind: 'server', cloudApiUrl: API },
    warning: /PREFECT_CLOUD_API_URL is empty/,
  },
  {
    name: 'a host that only begins like Cloud',
    lines: [
      'PREFECT_CLOUD_API_URL = "https://api.prefect.cloud"',
      'PREFECT_API_URL = "https://api.prefect.cloud.evil.example/api"',
    ],
    is: { kind: 'server' },
  },
  {
    name: 'a UI of its own',
    lines: [`PREFECT_API_URL = "${FULL}"`, 'PREFECT_CLOUD_UI_URL = "https://ui.example/"'],
    is: { cloudUiUrl: 'https://ui.example' },
  },
  {
    name: 'a line break in the URL',
    lines: ['PREFECT_API_URL = "http://x/api\\nPREFECT_API_KEY=y"'],
    is: { kind: 'none', apiUrl: undefined },
    warning: /PREFECT_API_URL is not an http or https URL/,
  },
]

for (const { name, lines, is, warning } of kinds) {
  t.test(`kind: ${name}`, async (t) => {
    const resolved = profile(...lines)
    t.match(resolved, is)
    if (warning === undefined) t.strictSame(resolved.warnings, [])
    else t.match(resolved.warnings.join('\n'), warning)
  })
}

t.test("uses the daemon's UI only with the daemon's API", async (t) => {
  const own = { cloudApiUrl: 'http://127.0.0.1:1/api', cloudUiUrl: 'http://127.0.0.1:2' }
  const file = read('[profiles.a]\n[profiles.b]\nPREFECT_CLOUD_API_URL = "https://api.prefect.cloud/api"\n')
  t.equal(resolveProfile({ file, defaults: own, requested: 'a' }).cloudUiUrl, 'http://127.0.0.1:2')
  t.equal(resolveProfile({ file, defaults: own, requested: 'b' }).cloudUiUrl, 'https://app.prefect.cloud')
})

const KEY = 'pnu_secret0123456789'
const warned: { name: string; lines: string[]; warning: RegExp }[] = [
  {
    name: 'a plain key',
    lines: [`PREFECT_API_KEY = "${KEY}"`],
    warning: /plain text.*run: prefect-auth adopt --profile p$/m,
  },
  {
    name: 'an empty key',
    lines: ['PREFECT_API_KEY = ""'],
    warning: /PREFECT_API_KEY is empty.*run: prefect-auth login --profile p$/m,
  },
  {
    name: 'a key with a line break',
    lines: [`PREFECT_API_KEY = "${KEY}\\nX"`],
    warning: /characters that are not allowed in it, so it is ignored/,
  },
  {
    name: 'a page',
    lines: [`PREFECT_API_URL = "https://app.prefect.cloud/account/${A}/workspace/${W}"`],
    warning: /address of a browser page/,
  },
  { name: 'a trailing slash', lines: [`PREFECT_API_URL = "${FULL}/"`], warning: /ends with a slash/ },
  {
    name: 'ids in upper case',
    lines: [`PREFECT_API_URL = "${FULL.replace(W, W.toUpperCase())}"`],
    warning: /upper case/,
  },
  {
    name: 'a password in the URL',
    lines: ['PREFECT_API_URL = "https://u:hunter2@x/api"'],
    warning: /contains a password/,
  },
  {
    name: 'a key that travels in the clear',
    lines: ['PREFECT_API_URL = "http://prefect.example/api"', `PREFECT_API_KEY = "${KEY}"`],
    warning: /http and not on this machine/,
  },
  {
    name: 'a key and an auth string',
    lines: [`PREFECT_API_KEY = "${KEY}"`, 'PREFECT_API_AUTH_STRING = "u:hunter2"'],
    warning: /PREFECT_API_KEY and PREFECT_API_AUTH_STRING are both set/,
  },
  {
    name: 'what Prefect 2 does not know',
    lines: ['PREFECT_API_AUTH_STRING = "u:hunter2"', 'MINE = 1'],
    warning: /Prefect 2 does not start with this file because it does not know MINE, PREFECT_API_AUTH_STRING/,
  },
  { name: 'a native value', lines: ['PREFECT_API_KEY = 12'], warning: /PREFECT_API_KEY is not a string/ },
]

for (const { name, lines, warning } of warned) {
  t.test(`warned about: ${name}`, async (t) => {
    const { warnings } = profile(...lines)
    t.match(warnings.join('\n'), warning)
    t.notMatch(warnings.join('\n'), /pnu_|hunter2/, 'no warning tells a secret')
  })
}

t.test('does not warn about a key on this machine or over https', async (t) => {
  for (const url of [
    'http://127.0.0.1:4200/api',
    'http://localhost:4200/api',
    'http://[::1]:4200/api',
    'https://x.example/api',
  ]) {
    t.notMatch(
      profile(`PREFECT_API_URL = "${url}"`, `PREFECT_API_KEY = "${KEY}"`).warnings.join(),
      /not on this machine/,
    )
  }
})

t.test('shows harmless settings, hides secrets and unknown ones', async (t) => {
  const file = read(
    `[profiles.a]\nPREFECT_API_URL = "${FULL}"\nPREFECT_API_KEY = "${KEY}"\nPREFECT_CLIENT_CUSTOM_HEADERS = '{"a":"hunter2"}'\n`,
  )
  const entry = file.profiles.get('a')
  if (entry === undefined) throw new Error('no profile')
  t.strictSame(shownSettings(entry), {
    PREFECT_API_URL: FULL,
    PREFECT_CLIENT_CUSTOM_HEADERS: '[hidden]',
    PREFECT_API_KEY: '[hidden]',
  })
})

t.test('names', async (t) => {
  t.ok(isBundledProfileName('cloud') && !isBundledProfileName('mine') && !isBundledProfileName('constructor'))
  for (const name of ['a', 'prod-2', 'x.y_z', 'A'.repeat(64)])
    t.doesNotThrow(() => requireNewProfileName(name))
  for (const name of ['', '.x', '-x', 'a b', '../x', 'ä', 'a\n', 'A'.repeat(65)]) {
    t.throws(() => requireNewProfileName(name), { code: 'profile_name_invalid' })
  }
  t.equal(shownName('a\u001b[31m\nb'), "'a [31m b'")
})

t.test('knows the settings that stop Prefect 2', async (t) => {
  for (const name of [
    'PREFECT_API_URL',
    'PREFECT_API_KEY',
    'PREFECT_CLOUD_UI_URL',
    'PREFECT_SERVER_API_HOST',
  ]) {
    t.notOk(isUnknownToPrefect2(name), name)
  }
  for (const name of [
    'PREFECT_API_AUTH_STRING',
    'PREFECT_SERVER_EPHEMERAL_ENABLED',
    'PREFECT_PLUGINS_ENABLED',
    'DAEMON_X',
  ]) {
    t.ok(isUnknownToPrefect2(name), name)
  }
})

t.test('notes where a plain Prefect does something else than a job of ours', async (t) => {
  const url = (value: string) => `PREFECT_API_URL = "${value}"`
  const secret = 'PREFECT_API_KEY = "pnu_0123456789abcdefghijklmnopqrstuvwxyz"'
  for (const [text, wanted] of [
    [[url(FULL), secret], undefined],
    [[url('http://h/api'), secret], [/^PREFECT_API_KEY of the profile is left out/]],
    [[url('http://h/api'), 'PREFECT_API_AUTH_STRING = "u:p"'], undefined],
    [
      [url(FULL), secret, 'PREFECT_API_AUTH_STRING = "u:p"'],
      [/^PREFECT_API_AUTH_STRING of the profile is left/],
    ],
  ] as const) {
    t.match(profile(...text).notes ?? [], wanted ?? [], text.join())
    t.equal(profile(...text).notes?.length, wanted?.length, text.join())
  }
  const note = [/^Prefect 3 does not use its built-in profile/]
  t.match(resolve('active = "local"').notes, note)
  t.match(resolve('', 'local').notes, note)
  t.equal(resolve(`[profiles.local]\n${url(LOCAL)}`, 'local').notes, undefined)
  for (const name of ['a"b', 'a\\b']) {
    const text = `[profiles.${JSON.stringify(name)}]\n${url(LOCAL)}`
    t.match(resolve(text, name).notes, [/^Prefect 2 and 3.4 cannot read a profile name/], name)
  }
  t.match(profile(url(FULL), secret.replace('pnu', ' pnu')).notes, [/^PREFECT_API_KEY .* without the blanks/])
  const oldName = 'PREFECT_CLOUD_URL = "http://h/api"'
  const own = url(FULL.replace('https://api.prefect.cloud', 'http://h'))
  t.match(profile(own, oldName).notes, [/^PREFECT_CLOUD_URL of the profile is read as/])
  t.equal(profile(own, oldName.replace('CLOUD_URL', 'CLOUD_API_URL')).notes, undefined)
  t.equal(profile(own, oldName, oldName.replace('CLOUD_URL', 'CLOUD_API_URL')).notes, undefined)
})

t.test('says which profile Prefect 2 would use if the active one does not exist', async (t) => {
  const because = (text: string) =>
    resolve(`${text}\n[profiles.default]\nPREFECT_API_URL = "${FULL}"`).because
  const both = "so Prefect 3 uses its built-in 'ephemeral', and Prefect 2 the profile 'default'"
  t.equal(because('active = "gone"'), `profiles.toml names 'gone' as active, which does not exist, ${both}`)
  t.equal(because(''), `profiles.toml names no active profile, ${both}`)
})

t.test('a key that Prefect Cloud never sees is not to be adopted', async (t) => {
  const { warnings } = profile('PREFECT_API_URL = "http://h/api"', 'PREFECT_API_KEY = "pnu_0123456789abcdef"')
  t.match(warnings.join('\n'), /prefect config unset --profile p PREFECT_API_KEY/)
  t.notMatch(warnings.join('\n'), /adopt/)
})
