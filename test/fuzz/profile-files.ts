/** Random and broken profile files and settings of a directory: the last good reading lives, edits change what was asked and nothing else. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { BrokerError, type ErrorCode } from '../../src/base/errors.js'
import { callersFile, filesAround, settingsOfEnv } from '../../src/cli/fast/around.js'
import { describeFiles, describeSettings } from '../../src/cli/fast/standing.js'
import { openProfileStore } from '../../src/profiles/open-profiles.js'
import type { ProfileEdit, ProfileReading } from '../../src/profiles/profile.js'
import { tableDigest } from '../../src/profiles/reading.js'
import { listProfiles, resolveProfile } from '../../src/profiles/resolve.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { Secret } from '../../src/std/secret.js'
import { fuzz, mutate, type Random } from './fixtures/fuzz.js'

const KEY = 'pnu_thekeyinthefilethatnobodymayprint012'
const PASSWORD = 'admin:passwordthatnobodymayprint'
const NEW_KEY = 'pnu_thenewkeyofthisround0123456789abcdef'
const CLOUD = 'https://api.prefect.cloud/api'
const GOOD = `active = "one"\n[profiles.one]\nPREFECT_API_KEY = "${KEY}"\n`

const NAMES = [
  'one',
  'two',
  '"a b"',
  '"__proto__"',
  'constructor',
  '"é"',
  'local',
  'a.b',
  '"\\u001b[31m"',
  "''",
  'cloud',
]
const VALUES = [
  `"${KEY}"`,
  `'${KEY}'`,
  `"""\n${KEY}"""`,
  `"${PASSWORD}"`,
  `"${CLOUD}/accounts/11111111-1111-1111-1111-111111111111/workspaces/22222222-2222-2222-2222-222222222222"`,
  '"http://u:p@[::1]:4200/api?x#y"',
  '"\\u0000\\u001b]0;x"',
  `{ Authorization = "Bearer ${KEY}" }`,
  `'{"Authorization": "Bearer ${KEY}"}'`,
  `["${KEY}", [1]]`,
  ...['true', '1', '-0.0', 'inf', '1979-05-27T07:32:00Z', '0xffffffffffffffffffff', '""', '{}', '[]'],
]
const SETTINGS = [
  ...['PREFECT_API_URL', 'PREFECT_API_KEY', 'PREFECT_API_AUTH_STRING', 'PREFECT_CLOUD_API_URL'],
  ...[
    'PREFECT_CLIENT_CUSTOM_HEADERS',
    'PREFECT_API_TLS_INSECURE_SKIP_VERIFY',
    '"x y"',
    'PREFECT_API.key',
    'prefect_api_key',
  ],
]

function someFile(random: Random): Buffer {
  const lines = [
    random.pick(['', 'active = "one"', 'active = 1', '# a comment', 'active = "gone"', '\ufeff']),
  ]
  for (let left = random.below(7); left > 0; left -= 1) {
    const [name, setting, value] = [random.pick(NAMES), random.pick(SETTINGS), random.pick(VALUES)]
    lines.push(
      random.pick([
        `[profiles.${name}]\n${setting} = ${value} # kept`,
        `[ profiles . ${name} ]\n\t${setting}=${value}`,
        `profiles.${name}.${setting} = ${value}`,
        `profiles.${name} = { ${setting} = ${value}, z = 1 }`,
        `[[profiles.${name}]]\n${setting} = ${value}`,
        `[profiles]\n${name} = ${value}`,
        `[other.${name}]\n${setting} = ${value}`,
        `${setting} = ${value}`,
      ]),
    )
  }
  const text = Buffer.from(lines.join(random.pick(['\n', '\n', '\r\n', '\n\n'])))
  return random.once(3) ? mutate(random, text) : text
}

function someEdits(random: Random, { file }: ProfileReading): ProfileEdit {
  const name = random.pick([...file.profiles.keys(), 'fresh', 'local'])
  return random.pick<ProfileEdit>([
    { kind: 'set', name, settings: { PREFECT_API_KEY: new Secret(NEW_KEY) } },
    { kind: 'set', name, settings: { PREFECT_API_KEY: undefined } },
    { kind: 'set', name, settings: { PREFECT_API_URL: CLOUD } },
    { kind: 'set_active', name },
    { kind: 'delete', name },
    { kind: 'rename', name, to: 'renamed' },
    { kind: 'create', name: 'created', settings: { PREFECT_API_URL: CLOUD } },
  ])
}

const REFUSALS: readonly ErrorCode[] = [
  ...(['profiles_file_invalid', 'profiles_file_changed', 'profiles_file_unreadable'] as const),
  ...(['profile_exists', 'profile_not_found', 'profile_name_invalid'] as const),
]

t.test(
  'reads what it can, keeps the last good reading, edits all or nothing, and prints no secret',
  async (t) => {
    const root = await mkdtemp(join(tmpdir(), 'pab-'))
    t.teardown(() => rm(root, { recursive: true, force: true }))
    const path = join(root, 'profiles.toml')
    mkdirSync(join(root, 'kept'), { mode: 0o700 })
    await fuzz(t, async (random) => {
      writeFileSync(path, GOOD, { mode: 0o600 })
      const store = await openProfileStore({
        ...{ path, keepIn: join(root, 'kept'), clock: systemClock(), log: silentLog(), watch: false },
      })
      try {
        const good = store.reading().file
        const bytes = someFile(random)
        writeFileSync(path, bytes)
        const reading = await store.refresh({ force: true })
        if (reading.state !== 'good' && reading.file !== good)
          throw new Error('the last good reading is gone')
        requireReadable(reading)
        const edit = someEdits(random, reading)
        const failure = await store.edit([edit]).then(
          () => undefined,
          (error: unknown) => error,
        )
        if (failure === undefined)
          return requireEdited(edit, reading, store.reading(), bytes, readFileSync(path))
        if (!(failure instanceof BrokerError) || !REFUSALS.includes(failure.code)) throw failure
        requireSilence(`${failure.message} ${failure.hint}`)
        if (!readFileSync(path).equals(bytes))
          throw new Error(`refused (${failure.message}), and the file has changed`)
      } finally {
        await store.close()
      }
    })
  },
)

/** Every profile can be resolved, and nothing that is said about it has a secret in it. */
function requireReadable({ file, problem, warnings = [] }: ProfileReading): void {
  const defaults = { cloudApiUrl: CLOUD }
  const all = [...listProfiles({ file, defaults }), resolveProfile({ file, defaults })]
  for (const profile of all) {
    requireSilence([profile.because, ...profile.warnings, ...(profile.notes ?? [])].join('\n'))
    requireSilence(
      JSON.stringify(profile, (name, value) => (name === 'apiUrl' || name.startsWith('cloud') ? '' : value)),
    )
  }
  requireSilence([problem ?? '', ...warnings].join('\n'))
}

function requireSilence(text: string): void {
  for (const secret of [KEY, NEW_KEY, PASSWORD]) {
    if (text.includes(secret)) throw new Error(`a secret was printed: ${text}`)
  }
  if (/[^\P{Cc}\n]/u.test(text)) throw new Error(`a control character was printed: ${JSON.stringify(text)}`)
}

/** What was asked is there, and every other profile says what it said. */
function requireEdited(
  edit: ProfileEdit,
  before: ProfileReading,
  after: ProfileReading,
  old: Buffer,
  now: Buffer,
): void {
  const fail = (what: string) => new Error(`${what}, ${JSON.stringify(edit)}:\n${old}\n→\n${now}`)
  if (after.state !== 'good') throw fail(`the edited file is ${after.state}`)
  const touched = new Set([edit.name, ...(edit.kind === 'rename' ? [edit.to] : [])])
  for (const name of before.state === 'good' ? before.file.profiles.keys() : []) {
    if (!touched.has(name) && tableDigest(before, name) !== tableDigest(after, name))
      throw fail(`'${name}' has changed`)
  }
  const isActiveKept =
    edit.kind === 'set_active' || edit.kind === 'rename' || before.file.active === after.file.active
  if (before.state === 'good' && !isActiveKept) throw fail('another profile is active')
  const entry = after.file.profiles.get(edit.name ?? '')
  if (edit.kind === 'delete' && entry !== undefined) throw fail('it is still there')
  if (edit.kind === 'set' && 'PREFECT_API_KEY' in edit.settings) {
    const wanted = edit.settings.PREFECT_API_KEY === undefined ? undefined : NEW_KEY
    if (entry?.apiKey?.reveal() !== wanted) throw fail('the key is not the one that was set')
  }
  if (edit.kind === 'rename') {
    if (tableDigest(before, edit.name) !== tableDigest(after, edit.to)) throw fail('it is not what it was')
  }
  const comments = (bytes: Buffer) => bytes.toString().match(/# (?:kept|a comment)/g)?.length ?? 0
  if (edit.kind !== 'delete' && comments(now) < comments(old)) throw fail('a comment is gone')
}

t.test('reads any settings of a directory, and names them without their values', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'pab-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const someDotenv = (random: Random) =>
    Array.from({ length: random.below(6) }, () =>
      random.pick([
        `PREFECT_API_KEY=${KEY}`,
        `export prefect_api_key='${KEY}'`,
        `PREFECT_CLIENT_CUSTOM_HEADERS={"Authorization": "${KEY}"}`,
        `PREFECT_API={"key": "${KEY}"}`,
        `PREFECT_PROFILES_PATH=$\{HOME:-$\{HOME}}/x\u0000`,
        `PREFECT_API_URL="${CLOUD}\n${KEY}`,
        '# x\r\n',
      ]),
    ).join('\n')
  await fuzz(t, async (random) => {
    const toml = (root: string) => Buffer.from(String(someFile(random)).replaceAll('profiles', root))
    writeFileSync(join(folder, '.env'), mutate(random, Buffer.from(someDotenv(random))))
    writeFileSync(
      join(folder, 'prefect.toml'),
      toml(random.pick(['client', 'api', 'cloud', 'profiles_path'])),
    )
    writeFileSync(join(folder, 'pyproject.toml'), toml('tool.prefect.client.custom_headers'))
    const env = { HOME: '/home/x', PREFECT_API_KEY: KEY, prefect_api_url: CLOUD }
    const files = filesAround(folder, env)
    callersFile(env, '/home/x', files, folder)
    const sources = [settingsOfEnv(env), ...files]
    const said = [...describeFiles(files, env, 'one'), ...describeSettings(sources, random.once(2))]
    requireSilence(said.join('\n'))
  })
})
