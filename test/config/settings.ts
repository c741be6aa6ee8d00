/** How settings are read, combined and checked. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { resolveSettings, SETTINGS, variableName } from '../../src/config/settings.js'
import { settingsTable } from '../../src/config/settings-table.js'

t.test('uses the default of every setting', async (t) => {
  const outcome = resolveSettings({ flags: {}, env: {} })

  if (outcome.kind !== 'settings') throw new Error(JSON.stringify(outcome))
  t.equal(outcome.settings.port, 4280)
  t.equal(outcome.settings['login.timeout'], 600_000)
  t.equal(outcome.settings['renewal.key_lifetime'], 30 * 24 * 3_600_000)
  t.equal(outcome.settings['renewal.retire_after'], undefined)
  t.equal(outcome.settings['vault.backend'], 'auto')
  t.ok(Object.isFrozen(outcome.settings))
})

t.test('prefers flags to the environment, and that to the file', async (t) => {
  const file = { path: '/c.toml', text: 'port = 1\n[log]\nlevel = "warn"\n[vault]\nbackend = "file"\n' }
  const env = { PREFECT_AUTH_PORT: '2', PREFECT_AUTH_LOG_LEVEL: 'error', OTHER: 'x' }

  const outcome = resolveSettings({ flags: { port: '3' }, env, file })

  if (outcome.kind !== 'settings') throw new Error(JSON.stringify(outcome))
  t.equal(outcome.settings.port, 3)
  t.equal(outcome.settings['log.level'], 'error')
  t.equal(outcome.settings['vault.backend'], 'file')
})

t.test('parses every form of a value', async (t) => {
  const cases: [string, string, unknown][] = [
    ['port', 'off', 'off'],
    ['port', '0', 0],
    ['login.timeout', '5m', 300_000],
    ['idle_exit', 'off', 'off'],
    ['idle_exit', '15m', 900_000],
    ['login.state_in_path', 'true', true],
    ['profiles.mirror', 'false', false],
    ['listen.hosts', 'a.example:1, b.example', ['a.example:1', 'b.example']],
    ['renewal.retire_after', '1h', 3_600_000],
  ]
  for (const [name, value, expected] of cases) {
    const outcome = resolveSettings({ flags: {}, env: { [variableName(name)]: value } })
    if (outcome.kind !== 'settings') throw new Error(JSON.stringify(outcome))
    t.same(new Map(Object.entries(outcome.settings)).get(name), expected, `${name}=${value}`)
  }
})

t.test('names a bad or unknown setting, its source and what is allowed', async (t) => {
  const cases: [Parameters<typeof resolveSettings>[0], RegExp][] = [
    [
      { flags: { port: '65536' }, env: {} },
      /setting port in the flag --port is not valid: expected a port number/,
    ],
    [
      { flags: {}, env: { PREFECT_AUTH_PORT: 'http' } },
      /PREFECT_AUTH_PORT is not valid: expected a port number/,
    ],
    [{ flags: {}, env: { PREFECT_AUTH_VAULT_BACKEND: 'usb' } }, /expected one of auto, keychain, file/],
    [
      { flags: {}, env: { PREFECT_AUTH_VALUT_BACKEND: 'file' } },
      /unknown setting in the environment variable PREFECT_AUTH_VALUT_BACKEND/,
    ],
    [
      { flags: {}, env: {}, file: { path: '/c.toml', text: 'prot = 1' } },
      /unknown setting prot in \/c\.toml/,
    ],
    [
      { flags: {}, env: {}, file: { path: '/c.toml', text: '[log]\nlevel = 3' } },
      /setting log\.level in \/c\.toml/,
    ],
    [{ flags: {}, env: {}, file: { path: '/c.toml', text: 'port = = 3' } }, /\/c\.toml is not valid TOML/],
    [
      { flags: {}, env: {}, file: { path: '/c.toml', text: '[renewal]\nkey_lifetime = "10m"' } },
      /from 1h to 365d/,
    ],
    [
      { flags: {}, env: {}, file: { path: '/c.toml', text: '[listen]\nrestricted_socket = "x"' } },
      /an absolute path/,
    ],
    [
      { flags: { idle_exit: '2s' }, env: {} },
      /idle_exit in the flag --idle-exit is not valid: expected "off", or a duration like .* from 10s to 30d/,
    ],
    [{ flags: {}, env: {}, file: { path: '/c.toml', text: '[profiles]\nmirror = "yes"' } }, /true or false/],
    [{ flags: {}, env: {}, file: { path: '/c.toml', text: '__proto__ = 1\n' } }, /unknown setting __proto__/],
    ...['TRACE /x', 'GET x', 'get /x', 'GET /x y', 'GET /../x', 'GET /{a', '/x'].map(
      (operation): [Parameters<typeof resolveSettings>[0], RegExp] => [
        { flags: {}, env: { PREFECT_AUTH_PROXY_ALLOW: operation } },
        /proxy\.allow in the environment variable PREFECT_AUTH_PROXY_ALLOW is not valid: expected operations like/,
      ],
    ),
    [
      { flags: {}, env: { PREFECT_AUTH_PROXY_ALLOW: 'POST /users/{id}/api_keys' } },
      /do not create or read API keys/,
    ],
  ]
  for (const [sources, expected] of cases) {
    const outcome = resolveSettings(sources)
    if (outcome.kind !== 'problems') throw new Error(`accepted ${JSON.stringify(sources)}`)
    t.match(outcome.problems.map(({ message }) => message).join('\n'), expected)
  }
})

t.test('reports all problems at once', async (t) => {
  const outcome = resolveSettings({ flags: { port: 'x' }, env: { PREFECT_AUTH_NOPE: '1' } })

  t.equal(outcome.kind === 'problems' && outcome.problems.length, 2)
})

t.test('ignores the environment variables that name paths', async (t) => {
  const env = { PREFECT_AUTH_CONFIG: '/a', PREFECT_AUTH_STATE_DIR: '/b', PREFECT_AUTH_SOCKET: '/c' }

  t.equal(resolveSettings({ flags: {}, env }).kind, 'settings')
})

t.test('gives every setting its own environment variable', async (t) => {
  const variables = Object.keys(SETTINGS).map(variableName)

  t.equal(new Set(variables).size, variables.length)
})

t.test('matches the table in the README (to update it: npx tsx scripts/settings-table.ts)', async (t) => {
  t.ok(readFileSync('README.md', 'utf8').includes(settingsTable()))
})
