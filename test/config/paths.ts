/** Where files and sockets are, by environment and platform. */
import t from 'tap'
import { resolvePaths, socketCandidates } from '../../src/config/paths.js'

const linux = (env: Record<string, string>) => ({ env, home: '/home/terry', platform: 'linux', uid: 1000 })

t.test('finds the paths of a Linux desktop', async (t) => {
  t.same(resolvePaths(linux({ XDG_RUNTIME_DIR: '/run/user/1000' })), {
    configFile: '/home/terry/.config/prefect-auth/config.toml',
    stateDir: '/home/terry/.local/state/prefect-auth',
    socket: '/run/user/1000/prefect-auth/authd.sock',
    callers: '/run/user/1000/prefect-auth/callers.sock',
    peers: '/run/user/1000/prefect-auth/peers.sock',
    profilesFile: '/home/terry/.prefect/profiles.toml',
  })
})

t.test('follows each override, but not an empty or relative XDG directory', async (t) => {
  const cases: [Record<string, string>, Partial<ReturnType<typeof resolvePaths>>][] = [
    [{}, { socket: '/home/terry/.local/state/prefect-auth/run/authd.sock' }],
    [{ XDG_CONFIG_HOME: '/x' }, { configFile: '/x/prefect-auth/config.toml' }],
    [{ XDG_CONFIG_HOME: 'x' }, { configFile: '/home/terry/.config/prefect-auth/config.toml' }],
    [{ XDG_STATE_HOME: '/x' }, { stateDir: '/x/prefect-auth', socket: '/x/prefect-auth/run/authd.sock' }],
    [{ XDG_STATE_HOME: '' }, { stateDir: '/home/terry/.local/state/prefect-auth' }],
    [{ PREFECT_AUTH_STATE_DIR: '/s' }, { stateDir: '/s', socket: '/s/run/authd.sock' }],
    [{ PREFECT_AUTH_SOCKET: '/s/a' }, { socket: '/s/a' }],
    [{ PREFECT_AUTH_CONFIG: '/c.toml' }, { configFile: '/c.toml' }],
    [{ PREFECT_HOME: '/p' }, { profilesFile: '/p/profiles.toml' }],
    [{ PREFECT_HOME: '~/p' }, { profilesFile: '/home/terry/p/profiles.toml' }],
    [{ PREFECT_HOME: '/p', PREFECT_PROFILES_PATH: '/q.toml' }, { profilesFile: '/q.toml' }],
  ]
  for (const [env, expected] of cases) t.match(resolvePaths(linux(env)), expected, JSON.stringify(env))
})

t.test('looks for the socket where a daemon of this user may listen, or only where told', async (t) => {
  t.same(socketCandidates(linux({ XDG_RUNTIME_DIR: '/tmp/r' })), [
    '/tmp/r/prefect-auth/authd.sock',
    '/run/user/1000/prefect-auth/authd.sock',
    '/home/terry/.local/state/prefect-auth/run/authd.sock',
  ])
  t.same(socketCandidates(linux({ XDG_RUNTIME_DIR: '/run/user/1000' })).length, 2)
  t.same(socketCandidates(linux({ PREFECT_AUTH_SOCKET: '/s', XDG_RUNTIME_DIR: '/r' })), ['/s'])
})

t.test('keeps everything in Application Support on macOS', async (t) => {
  const mac = { env: { XDG_RUNTIME_DIR: '/r' }, home: '/Users/terry', platform: 'darwin', uid: 501 }

  t.match(resolvePaths(mac), {
    configFile: '/Users/terry/Library/Application Support/prefect-auth/config.toml',
    socket: '/Users/terry/Library/Application Support/prefect-auth/run/authd.sock',
  })
  t.same(socketCandidates(mac), ['/Users/terry/Library/Application Support/prefect-auth/run/authd.sock'])
})
