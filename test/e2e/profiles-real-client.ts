/**
 * Our reading of `profiles.toml` compared with the real clients' (`prefect config view`).
 *
 * If a flow is known to run with other settings, the settings of a running Python are compared too.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { resolveProfile } from '../../src/profiles/resolve.js'
import { parseProfiles } from '../../src/profiles/toml.js'
import {
  findPrefect,
  type PrefectClient,
  runPrefect,
  runPython,
  type Which,
} from '../fixtures/real-prefect.js'

const CLOUD = `https://api.prefect.cloud/api/accounts/9b649228-0419-40e1-9e0d-44954b5c0ab6/workspaces/d137367a-5055-44ff-b91c-6f7366c9e4c4`
const LOCAL = 'http://127.0.0.1:4200/api'
const URL_LINE = `PREFECT_API_URL = "${LOCAL}"`
const KEY_LINE = 'PREFECT_API_KEY = "pnu_abc"'

interface Values {
  readonly url?: string
  readonly key?: string
}

interface Case {
  readonly name: string
  readonly toml: string
  /** `PREFECT_PROFILE` of the client, and the profile that we resolve. */
  readonly profile?: string
  /** What a client does differently from us, or that it does not start. */
  readonly but?: Partial<Record<Which, Values | 'stops'>>
  /** `config view` shows this; a running Python agrees with us. */
  readonly shows?: Partial<Record<Which, Values>>
  /** `config view` agrees with us; a running Python has this, which we warn about. */
  readonly runs?: Partial<Record<Which, Values>>
  /** Prefect 2 takes three seconds to start: if its rules are the same, Prefect 3 is enough. */
  readonly only?: '3'
}

const cases: Case[] = [
  { name: 'a server', toml: `active = "a"\n[profiles.a]\n${URL_LINE}\n` },
  {
    name: 'Cloud and a key',
    toml: `active = "a"\n[profiles.a]\nPREFECT_API_URL = "${CLOUD}"\n${KEY_LINE}\n[profiles.b]\n`,
  },
  {
    name: 'PREFECT_PROFILE',
    only: '3',
    toml: `active = "a"\n[profiles.a]\n${KEY_LINE}\n[profiles.b]\n${URL_LINE}\n`,
    profile: 'b',
  },
  {
    name: 'an empty PREFECT_PROFILE',
    toml: `active = "a"\n[profiles.a]\n${URL_LINE}\n`,
    profile: '',
    but: { 2: {} },
    shows: { 3: {} },
  },
  { name: 'comments alone', only: '3', toml: '# nothing\n' },
  { name: 'no active', only: '3', toml: `[profiles.a]\n${URL_LINE}\n` },
  { name: 'no active, and a default', toml: `[profiles.default]\n${URL_LINE}\n`, but: { 2: { url: LOCAL } } },
  {
    name: 'an empty active, and a default',
    only: '3',
    toml: `active = ""\n[profiles.default]\n${URL_LINE}\n`,
    but: { 2: { url: LOCAL } },
  },
  { name: 'an active that is nowhere', only: '3', toml: `active = "gone"\n[profiles.a]\n${URL_LINE}\n` },
  {
    name: 'an active that is nowhere, and a default',
    toml: `active = "gone"\n[profiles.default]\n${URL_LINE}\n`,
    but: { 2: { url: LOCAL } },
  },
  { name: 'ephemeral with a table', toml: `active = "ephemeral"\n[profiles.ephemeral]\n${URL_LINE}\n` },
  {
    name: 'no active, ephemeral with a table',
    only: '3',
    toml: `[profiles.ephemeral]\n${URL_LINE}\n`,
    runs: { 3: {} },
  },
  { name: 'local without a table', toml: 'active = "local"\n', but: { 2: {} }, runs: { 3: {} } },
  {
    name: 'local with an empty table',
    only: '3',
    toml: 'active = "local"\n[profiles.local]\n',
    runs: { 3: {} },
  },
  { name: 'cloud without a table', toml: 'active = "cloud"\n' },
  { name: 'default without a table', only: '3', toml: 'active = "default"\n' },
  { name: 'a quoted name', toml: `active = "a.b"\n[profiles."a.b"]\n${URL_LINE}\n` },
  { name: 'a name with a space', toml: `[profiles.'a b']\n${URL_LINE}\n`, profile: 'a b' },
  {
    name: 'other kinds of strings',
    toml: `active = 'a'\n[profiles.a]\nPREFECT_API_URL = '${LOCAL}'\nPREFECT_API_KEY = """pnu_m"""\n`,
  },
  { name: 'escapes', toml: 'active = "\\u0061"\n[profiles.a]\nPREFECT_API_KEY = "pnu_\\u0041\\"b"\n' },
  { name: 'an inline table', toml: `active = "a"\n[profiles]\na = { ${URL_LINE}, ${KEY_LINE} }\n` },
  { name: 'dotted keys', only: '3', toml: `active = "a"\n[profiles]\na.${URL_LINE}\n` },
  { name: 'empty values', toml: 'active = "a"\n[profiles.a]\nPREFECT_API_URL = ""\nPREFECT_API_KEY = ""\n' },
  {
    name: 'a key that is a number',
    toml: 'active = "a"\n[profiles.a]\nPREFECT_API_KEY = 12\n',
    but: { 3: 'stops' },
  },
  {
    name: 'a setting that is true',
    only: '3',
    toml: `active = "a"\n[profiles.a]\n${URL_LINE}\nPREFECT_DEBUG_MODE = true\n`,
  },
  {
    name: 'a setting nobody knows',
    toml: `active = "a"\n[profiles.a]\n${URL_LINE}\n[profiles.b]\nMINE = "1"\n`,
    but: { 2: 'stops' },
  },
  {
    name: 'an auth string',
    toml: `active = "a"\n[profiles.a]\n${URL_LINE}\nPREFECT_API_AUTH_STRING = "u:p"\n`,
    but: { 2: 'stops' },
  },
  {
    name: 'names in lower case',
    only: '3',
    toml: 'active = "a"\n[profiles.a]\nprefect_api_key = "pnu_x"\n',
    but: { 2: 'stops' },
  },
  {
    name: 'a Cloud of its own',
    only: '3',
    toml: `active = "a"\n[profiles.a]\nPREFECT_CLOUD_API_URL = "${LOCAL}"\n${URL_LINE}\n${KEY_LINE}\n`,
  },
  {
    name: 'a trailing slash',
    only: '3',
    toml: `active = "a"\n[profiles.a]\nPREFECT_API_URL = "${CLOUD}/"\n`,
  },
  { name: 'line breaks of Windows', only: '3', toml: `active = "a"\r\n\r\n[profiles.a]\r\n${URL_LINE}\r\n` },
  {
    name: 'a byte order mark',
    toml: `\ufeffactive = "a"\n[profiles.a]\n${URL_LINE}\n`,
    // Prefect 2 takes the mark for a part of the first name, and has no active profile then.
    but: { 3: 'stops', 2: {} },
  },
]

function ours({ toml, profile }: Case): Values {
  const parsed = parseProfiles(toml)
  if (parsed.kind === 'invalid') throw new Error(parsed.problem)
  const defaults = { cloudApiUrl: 'https://api.prefect.cloud/api' }
  const requested = profile === undefined ? {} : { requested: profile }
  const { apiUrl, fileKey } = resolveProfile({ file: parsed.file, defaults, ...requested })
  return {
    ...(apiUrl === undefined ? {} : { url: apiUrl }),
    ...(fileKey === undefined ? {} : { key: fileKey.reveal() }),
  }
}

/** By the major version of the client. */
const RUNTIME: Record<'3' | '2', string> = {
  3: `
from prefect.settings import get_current_settings as now
s = now()
print("URL=" + repr(s.api.url or "")); print("KEY=" + repr(s.api.key.get_secret_value() if s.api.key else ""))`,
  2: `
from prefect.settings import PREFECT_API_URL as u, PREFECT_API_KEY as k
print("URL=" + repr(u.value() or "")); print("KEY=" + repr(k.value() or ""))`,
}

/** What the client has, or its error. Empty and unset are the same to both clients. */
async function theirs(
  client: PrefectClient,
  { toml, profile }: Case,
  home: string,
  how: 'shown' | 'running',
) {
  mkdirSync(home, { recursive: true })
  writeFileSync(join(home, 'profiles.toml'), toml)
  const env = profile === undefined ? {} : { PREFECT_PROFILE: profile }
  const ran =
    how === 'shown'
      ? await runPrefect(client, ['config', 'view', '--show-secrets', '--hide-sources'], { home, env })
      : await runPython(client, ['-c', RUNTIME[client.which === '2' ? '2' : '3']], { home, env })
  if (ran.code !== 0) return { stopped: ran.output.slice(-2000) }
  return { url: valueIn(ran.stdout, 'URL'), key: valueIn(ran.stdout, 'KEY') }
}

/** The value of a line `…URL='x'`, a Python string literal. */
function valueIn(output: string, name: string): string {
  const literal = new RegExp(`^(?:PREFECT_API_)?${name}='(.*)'$`, 'm').exec(output)?.[1] ?? ''
  return literal.replace(/\\(.)/g, '$1')
}

const plain = ({ url = '', key = '' }: Values) => ({ url, key })

async function compare(t: Test, client: PrefectClient, one: Case, home: string): Promise<void> {
  const { which } = client
  const but = one.but?.[which]
  const shows = one.shows?.[which]
  const shown = await theirs(client, one, home, 'shown')
  const name = `${one.name}: Prefect ${which}`
  if (but === 'stops') {
    t.match(shown, { stopped: /validation error|Unknown setting|TOMLDecodeError/ }, `${name} does not start`)
    return
  }
  t.strictSame(shown, plain(shows ?? but ?? ours(one)), `${name} shows it`)
  const runs = one.runs?.[which]
  if (runs !== undefined) {
    t.strictSame(await theirs(client, one, home, 'running'), plain(runs), `${name} runs with something else`)
  }
  if (shows === undefined) return
  t.strictSame(await theirs(client, one, home, 'running'), plain(ours(one)), `${name} runs with what we say`)
}

// Both clients at the same time: a minute on two idle cores, longer on busy ones.
t.setTimeout(600_000)
t.jobs = 2
for (const which of ['2', '3'] as const) {
  t.test(`Prefect ${which} reads the file as we do`, { buffered: true, timeout: 600_000 }, async (t) => {
    const client = findPrefect(which, t)
    if (client === undefined) return
    // Not in tap's directory: another run of tap empties it, and this test takes long.
    const homes = await mkdtemp(join(tmpdir(), 'profiles-'))
    t.teardown(() => rm(homes, { recursive: true, force: true }))
    for (const [index, one] of cases.entries()) {
      if (one.only === undefined || one.only === which)
        await compare(t, client, one, join(homes, String(index)))
    }
  })
}
