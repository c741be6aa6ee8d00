/**
 * What we tell people to run is run: in the state in which we say it, as it is printed; then the command that failed has another
 * outcome, or what was missing is on the screen. Every hint of the source is here.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Simulator, startCloudSimulator } from '../../sim/simulator.js'
import { findHints } from '../fixtures/hints.js'
import { type Shipped, startShipped } from '../fixtures/shipped.js'

t.setTimeout(900_000)
/** Executed elsewhere, or not something that changes an outcome; each with its reason. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'agent run': 'test/cli/agent.ts, test/e2e/agent.ts',
  'asks show': 'a look: test/cli/asks.ts, test/e2e/asks.ts',
  audit: 'a look: test/cli/commands.ts',
  ui: 'test/e2e/page.ts, test/cli/ui.ts',
  'asks yes': 'test/cli/asks.ts, test/e2e/asks.ts',
  'audit --since': 'a look at the past: test/cli/commands.ts',
  doctor: 'a look, which every test of doctor reads: test/status/doctor.ts, test/e2e/doctor-here.ts',
  env: 'evaluated by sh: test/cli/pair.ts',
  'env --follow': 'evaluated by the hook of a shell: test/cli/hook.ts',
  'env --follow --format': 'evaluated by the hook of a shell: test/cli/hook.ts',
  'env --format': 'evaluated by fish: test/cli/env.ts',
  completion: 'evaluated by every shell: test/cli/completion.ts, test/cli/setup.ts',
  'exec --proxy': 'run in test/cli/pair.ts, test/cli/proxy.ts',
  'file add --replace --what': 'test/files/keeper.ts',
  'file add --what': 'test/files/keeper.ts',
  'file ls': 'test/files/keeper.ts',
  'file rm': 'test/files/keeper.ts',
  hook: 'evaluated by every shell: test/cli/hook.ts',
  'integrate --early': 'test/e2e/plugin.ts',
  'integrate --python': 'test/e2e/plugin.ts',
  'integrate --remove': 'test/e2e/plugin.ts',
  'keys prune --yes': 'test/e2e/keys-prune.ts',
  'login --on': 'needs another machine: test/e2e/ssh-login.ts',
  'login --owner': 'test/cli/login-terminal.ts',
  logs: 'a look: test/cli/logs.ts, test/e2e/service-logs.ts',
  'logs -f': 'a look: test/e2e/service-logs.ts',
  metrics: 'a look: test/api/inspect.ts',
  'renew --now --profile': 'test/cli/renewal-commands.ts',
  report: 'test/e2e/report.ts',
  'report --output': 'test/e2e/report.ts',
  'service install': 'needs a user manager: test/e2e/service.ts',
  setup: 'test/cli/setup.ts',
  'setup --print': 'a look: test/cli/setup.ts',
  'setup --remove': 'test/cli/setup.ts',
  'setup --remove --yes': 'test/cli/setup.ts',
  'setup --yes': 'test/cli/setup.ts',
  'share adopt': 'needs a store: test/e2e/share.ts',
  'share init --probe --yes': 'needs a store: test/e2e/share-endings.ts',
  'share init --service-account': 'needs a store: test/e2e/share.ts',
  'share leave': 'needs a store: test/e2e/share.ts',
  'share leave --profile': 'needs a store: test/e2e/share-endings.ts',
  'share rotate --now': 'needs a store: test/e2e/share.ts',
  'share secret': 'needs a store: test/e2e/share-endings.ts',
  'share status': 'a look: test/e2e/share.ts',
  'share use': 'needs a store: test/e2e/share.ts',
  'token keep': 'needs a stranger on the port: test/e2e/port-takeover.ts',
  'token create --may --name': 'test/cli/limits.ts, test/api/policies.ts',
  'token policies': 'a look: test/cli/limits.ts',
  'token policies --operations': 'a look: test/cli/limits.ts',
  'token show': 'a look: test/cli/limits.ts, test/api/policies.ts',
  'uninstall --purge': 'test/cli/uninstall.ts',
  'uninstall --purge --revoke': 'test/cli/uninstall.ts',
  'uninstall --purge --yes': 'test/cli/uninstall.ts',
  'token keep --all': 'needs a stranger on the port: test/e2e/port-takeover.ts',
  'vault export --passphrase-file': 'test/e2e/vault-transfer.ts',
  'vault import': 'test/e2e/vault-transfer.ts',
  'vault import --passphrase-file': 'test/e2e/vault-transfer.ts',
  'vault move': 'test/e2e/vault-commands.ts',
  'vault move --passphrase-file --to': 'test/e2e/vault-commands.ts',
  'vault move --to': 'test/e2e/vault-commands.ts',
  'vault rekey --passphrase-file': 'test/e2e/vault-commands.ts',
  'vault status': 'a look: test/e2e/vault-commands.ts',
}

/** Not executed yet: the list may only become shorter. */
const NOT_YET: readonly string[] = [
  'profile create',
  'profile set',
  'profile set --auth-string-stdin',
  'token revoke',
  'status --socket',
  'unlock',
  'unlock --passphrase-stdin',
  'version',
]
interface Row {
  /** As `findHints` names it. */
  readonly hint: string
  /** Lines of bash: what fails, or complains. */
  readonly fails: string
  /** What the failure prints, with the command in its first group, ready to be copied. */
  readonly says?: RegExp
  /** What a person puts in the place of capital letters. */
  readonly fill?: Readonly<Record<string, string>>
  /** What a person types, or adds without a terminal. */
  readonly more?: string
  readonly input?: string
  /** What is shown, where the hint is to look. */
  readonly shows?: RegExp
  /** With what was shown, this has another outcome. Default: `fails`. */
  readonly after?: string
}

const TRY = /^try: (.*?)(?: {6}.*)?$/m
const SERVER = 'http://127.0.0.1:4299/api'
const TCP =
  'U="$(prefect-auth status --url)"; A() { curl -qsS --noproxy "*" -H "Authorization: Bearer $1" "$U/v1/$2"; }; '

function rows(cloud: Simulator): readonly Row[] {
  const key = cloud.issueKey({ name: 'pasted' })
  const other = cloud.issueKey({ user: 'ada', name: 'of another' })
  const old = cloud.keys.find(cloud.issueKey({ name: 'old' }))?.id
  const paste = { more: ' --key-stdin --workspace prefect/terry', input: key }
  return [
    {
      hint: 'login',
      fails: 'prefect-auth exec -p ephemeral -- true',
      ...paste,
      after: 'prefect-auth exec -- true',
    },
    {
      hint: 'login --workspace',
      fails: `prefect-auth login --profile many --key-stdin <<< ${key}`,
      more: ' --key-stdin',
      input: key,
      after: 'prefect-auth exec -p many -- true',
    },
    { hint: 'login --profile', fails: 'prefect-auth exec -p work -- true', ...paste },
    {
      hint: 'login --key-stdin',
      fails: `prefect-auth login ${key}`,
      fill: { ' < FILE': '' },
      more: ' --profile pasted --workspace prefect/terry',
      input: key,
      after: 'prefect-auth exec -p pasted -- true',
    },
    {
      hint: 'login --switch-owner',
      fails: `prefect-auth login --key-stdin --workspace prefect/terry <<< ${other}`,
      more: ' --key-stdin --workspace prefect/terry',
      input: other,
      after: 'prefect-auth status',
    },
    {
      hint: 'keys create --name',
      fails: 'prefect-auth keys create -p work',
      fill: { NAME: 'made -p work' },
      after: 'prefect-auth keys ls -p work',
    },
    {
      hint: 'keys ls',
      fails: 'prefect-auth keys delete nobody -p work',
      more: ' -p work',
      shows: /made/,
      after: 'prefect-auth keys delete "$(prefect-auth keys ls -p work --names | tail -n 1)" -p work',
    },
    {
      hint: 'keys delete --yes',
      fails: `prefect-auth keys delete ${old} -p work`,
      more: ' -p work',
      after: 'prefect-auth keys ls -p work',
    },
    {
      hint: 'logout --profile --revoke',
      fails: `prefect-auth keys create again -p work | prefect-auth login -p again --key-stdin --workspace prefect/terry
        prefect-auth keys delete "$(prefect-auth keys ls -p work --names | tail -n 1)" -p work`,
      after: 'prefect-auth keys ls -p work',
    },
    {
      hint: 'service-account create --profile',
      fails: 'prefect-auth service-account create robot --owner work',
      fill: { NAME: 'robot --owner work', PROFILE: 'robot' },
      after: 'prefect-auth exec -p robot -- true',
    },
    {
      hint: 'service-account ls',
      fails: 'prefect-auth service-account delete nobody -p work',
      more: ' -p work',
      shows: /robot/,
      after: 'prefect-auth service-account ls -p work',
    },
    {
      hint: 'service-account ls --profile',
      fails: 'prefect-auth keys create x -p robot',
      fill: { NAME: 'work' },
      shows: /robot/,
      after: 'prefect-auth service-account ls -p work',
    },
    {
      hint: 'service-account rotate --profile',
      fails: `prefect-auth profile create robot2 --api-url ${cloud.workspaceUrl('prefect/terry')}
        prefect-auth service-account create robot -p robot2 --owner work`,
      more: ' --owner work',
      after: 'prefect-auth exec -p robot2 -- true',
    },
    {
      hint: 'service-account delete --yes',
      fails: 'prefect-auth service-account delete spare -p work',
      more: ' -p work',
      after: 'prefect-auth service-account ls -p work',
    },
    {
      hint: 'logout --profile',
      fails: 'prefect-auth service-account delete robot -p work',
      after: 'prefect-auth service-account delete robot -p work --yes',
    },
    {
      hint: 'workspace create',
      fails: 'prefect-auth workspace create nobody/fresh -p work',
      fill: { 'ACCOUNT/HANDLE': 'prefect/fresh -p work' },
      after: 'prefect-auth workspace ls -p work',
    },
    {
      hint: 'exec --help',
      fails: 'prefect-auth exec --nonsense',
      shows: /Usage: prefect-auth exec/,
      after: 'prefect-auth exec -p server -- true',
    },
    {
      hint: 'agent run --help',
      fails: 'prefect-auth agent run --nonsense',
      shows: /Usage: prefect-auth agent run/,
      after: 'prefect-auth agent run -p server -- true',
    },
    {
      hint: 'env --help',
      fails: 'prefect-auth env --nonsense',
      shows: /Usage: prefect-auth env/,
      after: 'prefect-auth env -p server',
    },
    {
      hint: 'get --help',
      fails: 'prefect-auth get --nonsense',
      shows: /Usage: prefect-auth get/,
      after: 'prefect-auth get url -p server',
    },
    {
      hint: 'exec',
      fails: 'cd "$(mktemp -d)"; echo PREFECT_API_URL=http://x/api > .env; prefect-auth status -p server',
      says: /^ *(prefect-auth exec -- CMD)/m,
      fill: { CMD: 'true', exec: 'exec -p server' },
      after: 'prefect-auth exec -p server -- true',
    },
    {
      hint: 'profile ls',
      fails: 'prefect-auth exec -p gone -- true',
      shows: /^.*\bserver\b/m,
      after: 'prefect-auth exec -p server -- true',
    },
    {
      hint: 'profile set --api-url',
      fails: 'prefect-auth profile create server --api-url http://127.0.0.1:1/api',
      fill: { URL: 'http://127.0.0.1:2/api', ' --auth-string-stdin': '' },
      after: 'prefect-auth profile inspect server',
    },
    {
      hint: 'profile use',
      fails: 'prefect-auth profile delete cloud',
      fill: { ANOTHER: 'server' },
    },
    {
      hint: 'profile inspect',
      fails: 'prefect-auth adopt --profile keyed',
      shows: /127\.0\.0\.1:4299/,
      after: 'prefect-auth adopt --profile plain',
    },
    {
      hint: 'status',
      fails: 'prefect-auth adopt --profile server',
      shows: /plain3/,
      after: 'prefect-auth adopt --profile plain3',
    },
    {
      hint: 'adopt --profile',
      fails: 'prefect-auth status -p plain2',
      says: /run: (prefect-auth adopt .*)$/m,
    },
    {
      hint: 'workspace set --profile',
      fails: 'prefect-auth status -p nowhere',
      says: /run: (prefect-auth workspace .*)$/m,
      more: ' --workspace prefect/terry',
    },
    {
      hint: 'workspace set',
      fails: 'prefect-auth workspace set prefect/none -p work',
      says: /^try: (prefect-auth workspace set ACCOUNT\/WORKSPACE)/m,
      fill: { 'ACCOUNT/WORKSPACE': 'prefect/other -p work' },
      after: 'prefect-auth status -p work',
    },
    {
      hint: 'profile set --api-url --auth-string-stdin',
      fails: 'prefect-auth profile set bare --auth-string-stdin <<< user:password',
      fill: { URL: SERVER },
      input: 'user:password',
    },
    {
      hint: 'status --url',
      fails: `${TCP}curl -qsS --noproxy '*' -H 'Host: elsewhere' "$U/v1/status"`,
      says: /by: (prefect-auth status --url)/,
      shows: /^http:/,
      after: `${TCP}U="$OUT"; A "$(prefect-auth token create --name looks --power inspect)" status`,
    },
    {
      hint: 'token ls',
      fails: 'prefect-auth token revoke nobody',
      shows: /looks/,
      after:
        'prefect-auth token revoke "$(prefect-auth token create --name gone --json | grep -oE \'"id": ?"[^"]*"\' | cut -d\\" -f4)"',
    },
    {
      hint: 'token create --name',
      fails: `${TCP}curl -qsS --noproxy '*' "$U/v1/status"`,
      says: /"hint":"(prefect-auth token create --name NAME)/,
      fill: { NAME: 'ci --power inspect' },
      after: `${TCP}A "$OUT" status`,
    },
    {
      hint: 'token create --name --power',
      fails: `${TCP}A "$(prefect-auth token create --name narrow --power inspect)" credentials`,
      says: /"hint":"(prefect-auth token create --name NAME --power \w+)/,
      fill: { NAME: 'wide' },
      after: `${TCP}A "$OUT" credentials`,
    },
    {
      hint: 'token create --name --profile',
      fails: `${TCP}A "$(prefect-auth token create --name one --power use --profile server)" credentials?profile=work`,
      says: /"hint":"(prefect-auth token create --name NAME --profile PROFILE)/,
      fill: { NAME: 'two', PROFILE: 'work --power use' },
      after: `${TCP}A "$OUT" credentials?profile=work`,
    },
  ]
}

const PROFILES = `active = "ephemeral"
[profiles.work]
[profiles.bare]
[profiles.server]
PREFECT_API_URL = "${SERVER}"
[profiles.keyed]
PREFECT_API_URL = "${SERVER}"
PREFECT_API_KEY = "pnu_${'k'.repeat(36)}"
`

t.test('every hint is known: it is a command that exists, and it is executed', async (t) => {
  const found = findHints()
  t.same(
    found.filter(({ unknown }) => unknown.length > 0),
    [],
    'with options that exist',
  )
  const named = new Set(found.map(({ command }) => command))
  const executed = new Set(rows(await startCloud(t)).map(({ hint }) => hint))
  const untold = [...named].filter(
    (hint) => !executed.has(hint) && !(hint in ELSEWHERE) && !NOT_YET.includes(hint),
  )
  t.same(untold, [], 'a new hint needs a row')
  const stale = [...Object.keys(ELSEWHERE), ...NOT_YET].filter(
    (hint) => !named.has(hint) || executed.has(hint),
  )
  t.same(stale, [], 'nothing is excused that need not be')
})

async function startCloud(t: Test): Promise<Simulator> {
  const cloud = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry', 'other'] }],
    users: [{ handle: 'terry' }, { handle: 'ada' }],
    bots: [{ name: 'spare', account: 'prefect' }],
  })
  t.teardown(() => cloud.close())
  return cloud
}

t.test('every hint is executed in the state that it is for', async (t) => {
  const cloud = await startCloud(t)
  const home = mkdtempSync(join(tmpdir(), 'pab-hints-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  mkdirSync(join(home, '.prefect'))
  const plain = (name: string) =>
    `[profiles.${name}]\nPREFECT_API_URL = "${cloud.apiUrl}/accounts/${'1'.repeat(8)}"\nPREFECT_API_KEY = "${cloud.issueKey()}"\n`
  writeFileSync(
    join(home, '.prefect', 'profiles.toml'),
    `${PROFILES}${['plain', 'plain2', 'plain3', 'nowhere'].map(plain).join('')}`,
    { mode: 0o600 },
  )
  const broker = await startShipped(t, {
    HOME: home,
    PREFECT_CLOUD_API_URL: cloud.apiUrl,
    PREFECT_CLOUD_UI_URL: cloud.uiUrl,
  })
  for (const row of rows(cloud)) await t.test(row.hint, (t) => execute(t, broker, row))
})

async function execute(t: Test, broker: Shipped, row: Row): Promise<void> {
  const before = await broker.shell(row.fails)
  const said = `${before.stdout}${before.stderr}`
  const hint = (row.says ?? TRY).exec(said)?.[1] ?? ''
  let line = hint
  for (const [word, value] of Object.entries(row.fill ?? {})) line = line.replace(word, value)
  const words = row.hint.split(' ')
  const command = words.filter((word) => !word.startsWith('-')).join(' ')
  t.ok(hint.startsWith(`prefect-auth ${command}`) && words.every((word) => hint.includes(word)), said)
  const ran = await broker.shell(
    `${line}${row.more ?? ''}${row.input === undefined ? '' : ` <<< '${row.input}'`}`,
  )
  t.equal(ran.code, 0, `${line}: ${ran.stdout}${ran.stderr}`)
  if (row.shows !== undefined) t.match(ran.stdout, row.shows)
  const after = await broker.shell(`OUT='${ran.stdout.trim().split('\n').at(-1)}'; ${row.after ?? row.fails}`)
  t.notSame([after.code, after.stdout, after.stderr], [before.code, before.stdout, before.stderr], line)
  t.notMatch(`${after.stdout}${after.stderr}`, hint, 'it is not said again')
  t.equal(after.code, 0, `${after.stdout}${after.stderr}`)
}
