/**
 * docs/troubleshooting.md, executed: in the state of each section the tool prints what the page says, and the commands that help run as they
 * are written. A command that is not run says so on the page.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Simulator, startCloudSimulator } from '../../sim/simulator.js'
import { findPrefect, prefectEnv } from '../fixtures/real-prefect.js'
import { type Shipped, startShipped } from '../fixtures/shipped.js'

t.setTimeout(600_000)

interface Section {
  readonly title: string
  /** What is printed, line by line. */
  readonly printed: readonly string[]
  readonly commands: readonly string[]
}

interface Scene {
  /** Lines of bash that print what the section shows. */
  readonly fails?: string
  /** Lines of bash that bring about what the commands need, before the one that begins so. */
  readonly before?: Readonly<Record<string, string>>
  /** What a command may end with besides 0. */
  readonly code?: Readonly<Record<string, number>>
}

const NOT_RUN = /\s+# not run there: \S/

function readPage(): readonly Section[] {
  const page = readFileSync(new URL('../../docs/troubleshooting.md', import.meta.url), 'utf8')
  return page.split(/^#+ /m).flatMap((text) => {
    const title = text.split('\n')[0] ?? ''
    const blocks = [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)]
    const lines = (kind: string) =>
      blocks.filter(([, its]) => its === kind).flatMap(([, , body = '']) => body.trimEnd().split('\n'))
    const kinds = blocks.map(([, kind]) => kind).filter((kind) => kind !== 'text' && kind !== 'sh')
    if (kinds.length > 0) throw new Error(`'${title}' has a block of another kind`)
    return text.trim() === '' ? [] : [{ title, printed: lines('text'), commands: lines('sh') }]
  })
}

/** `…` stands for anything. */
function pattern(line: string): RegExp {
  return new RegExp(`^${line.split('…').map(escaped).join('.+')}$`, 'm')
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')
}

function scenes(tls: Simulator): Readonly<Record<string, Scene>> {
  return {
    Troubleshooting: {},
    '401: Invalid authentication credentials': {
      fails: 'prefect-auth doctor -p old; prefect-auth status -p old',
    },
    'Not logged in': { fails: 'prefect-auth exec -p fresh -- true' },
    'The login in the browser does not come back': {},
    'Over ssh': {},
    'The wrong workspace, or 404': {
      fails: 'prefect-auth status -p missing; prefect-auth workspace set prefect/nowhere -p missing',
    },
    '403: a role, or the network': { fails: 'prefect-auth workspace create fresh -p low' },
    'Another profile or key than expected': {
      fails: 'PREFECT_API_URL=http://x/api PREFECT_API_KEY=x prefect-auth exec -p admin -- true',
    },
    'A proxy, or TLS certificates': {
      fails: 'prefect-auth doctor -p tls',
      before: {
        'prefect-auth doctor --profile tls': '',
        'prefect-auth workspace ls': `sed -i 's#^PREFECT_CLOUD_API_URL.*#&\\nPREFECT_API_SSL_CERT_FILE = "${tls.caPath}"#' "$HOME/.prefect/profiles.toml"; sleep 1`,
      },
      code: { 'prefect-auth doctor --profile tls': 1 },
    },
    "Can't connect to Server API": {
      fails: 'prefect-auth profile create srv --api-url http://127.0.0.1:9/api; prefect-auth status -p srv',
      code: { 'prefect-auth doctor --profile srv': 1 },
    },
    'A worker exits on 401': {},
    'The versions differ': { fails: 'prefect-auth version' },
    'The daemon is not running': {
      fails: 'PREFECT_AUTH_SOCKET=/nonexistent/s PREFECT_AUTH_STATE_DIR="$(mktemp -d)" prefect-auth status',
    },
    'The keychain is locked': {},
  }
}

t.test('the page is what is printed, and its commands run', async (t) => {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) return
  const cloud = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry', 'other'] }],
    users: [{ handle: 'terry' }, { handle: 'member', admin: false }],
  })
  const tls = await startCloudSimulator({ tls: 'all' })
  t.teardown(() => cloud.close())
  t.teardown(() => tls.close())
  const all = scenes(tls)
  const sections = readPage()
  t.same(
    sections.map(({ title }) => title),
    Object.keys(all),
    'every section has a scene',
  )
  const broker = await startBroker(t, cloud, tls)
  for (const section of sections) {
    await t.test(section.title, (t) => play(t, broker, section, all[section.title] ?? {}, prefect.bin))
  }
})

async function startBroker(t: Test, cloud: Simulator, tls: Simulator): Promise<Shipped> {
  const home = mkdtempSync(join(tmpdir(), 'pab-trouble-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  mkdirSync(join(home, '.prefect'))
  const url = cloud.workspaceUrl('prefect/terry')
  const revoked = cloud.issueKey()
  cloud.keys.revoke(revoked)
  const table = (name: string, lines: Readonly<Record<string, string>>) =>
    `[profiles.${name}]\n${Object.entries(lines)
      .map(([key, value]) => `${key} = "${value}"\n`)
      .join('')}`
  const file = [
    'active = "admin"\n',
    table('admin', {}),
    table('fresh', {}),
    table('old', { PREFECT_API_URL: url, PREFECT_API_KEY: revoked }),
    table('missing', { PREFECT_API_URL: `${url.slice(0, -4)}ffff`, PREFECT_API_KEY: cloud.issueKey() }),
    table('tls', {
      PREFECT_CLOUD_API_URL: tls.apiUrl,
      PREFECT_API_URL: tls.workspaceUrl('prefect/terry'),
      PREFECT_API_KEY: tls.issueKey(),
    }),
  ].join('')
  writeFileSync(join(home, '.prefect', 'profiles.toml'), file, { mode: 0o600 })
  writeFileSync(join(home, 'key.txt'), `${cloud.issueKey()}\n`, { mode: 0o600 })
  const { PATH: _, ...env } = prefectEnv(home)
  const broker = await startShipped(t, {
    ...env,
    PREFECT_HOME: join(home, '.prefect'),
    PREFECT_CLOUD_API_URL: cloud.apiUrl,
    PREFECT_CLOUD_UI_URL: cloud.uiUrl,
  })
  for (const [profile, key] of [
    ['admin', cloud.issueKey()],
    ['low', cloud.issueKey({ user: 'member' })],
  ] as const) {
    const args = ['login', '-p', profile, '--key-stdin', '--workspace', 'prefect/terry']
    const login = await broker.cli(args, { input: key })
    t.equal(login.code, 0, login.stderr)
  }
  return broker
}

async function play(t: Test, broker: Shipped, section: Section, scene: Scene, prefect: string) {
  const { fails, before = {}, code = {} } = scene
  if (fails !== undefined) {
    const { stdout, stderr } = await broker.shell(fails)
    for (const line of section.printed) t.match(`${stdout}${stderr}`, pattern(line), line)
  }
  t.equal(fails === undefined, section.printed.length === 0, 'what is printed is brought about')
  for (const line of section.commands) {
    if (NOT_RUN.test(line)) {
      t.pass(line)
      continue
    }
    const command = line.replace(/\s+#.*$/, '')
    const first = Object.entries(before).find(([start]) => command.startsWith(start))?.[1] ?? ''
    const ran = await broker.shell(
      `cd "$HOME"; export PATH="${join(prefect, '..')}:$PATH"\n${first}\n${command}`,
    )
    t.equal(ran.code, code[command] ?? 0, `${command}: ${ran.stdout}${ran.stderr}`)
  }
}
