// Programs that hold a secret for others: ssh-agent, oidc-agent, the Secret Service, git's cache, and Prefect's own client.
// Each with a secret of its own in `home`; one that is not installed is left out.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { atEnd, env, find, home, say, stop } from './lib.mjs'

/** `{ name, command, isSlow }` of what is here. Their variables are in `env` afterwards. */
export async function startPeers() {
  const found = []
  for (const [name, start] of Object.entries(PEERS)) {
    try {
      const command = await start()
      if (command !== undefined) found.push({ name, command, isSlow: name.startsWith('prefect') })
    } catch (error) {
      say(`(${name} did not start: ${String(error.message).split('\n')[0]})`)
    }
  }
  return found
}

const PEERS = {
  'ssh-add -l': startSshAgent,
  'oidc-token': startOidcAgent,
  'secret-tool lookup': startSecretService,
  'git credential-cache': startGitCache,
  'prefect config view': findPrefect,
}

function run(program, args, input = '') {
  const { status, stdout, stderr } = spawnSync(program, args, {
    env,
    input,
    encoding: 'utf8',
    timeout: 20_000,
  })
  if (status !== 0) throw new Error(`${program}: ${stderr.trim() || status}`)
  return stdout
}

/** What an agent prints for `eval`. */
function takeVariables(text, names) {
  for (const name of names) {
    const value = new RegExp(`${name}=([^;\\n]+)`).exec(text)?.[1]
    if (value !== undefined) env[name] = value
  }
}

function endAtEnd(variable) {
  const pid = Number(env[variable])
  if (pid > 0) atEnd(() => process.kill(pid))
}

function startSshAgent() {
  if (find('ssh-add') === undefined) return undefined
  takeVariables(run('ssh-agent', ['-s', '-a', join(home, 'ssh.sock')]), ['SSH_AUTH_SOCK', 'SSH_AGENT_PID'])
  endAtEnd('SSH_AGENT_PID')
  run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(home, 'ssh.key')])
  run('ssh-add', ['-q', join(home, 'ssh.key')])
  return 'ssh-add -l'
}

/** An account at an issuer of our own, whose token the agent has from then on. */
async function startOidcAgent() {
  if (find('oidc-gen') === undefined) return undefined
  const [cert, key] = [join(home, 'oidc.pem'), join(home, 'oidc.key')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  run('openssl', [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '2',
    ...subject,
    '-keyout',
    key,
    '-out',
    cert,
  ])
  writeFileSync(join(home, 'issuer.mjs'), ISSUER)
  const issuer = spawn(process.execPath, [join(home, 'issuer.mjs'), cert, key], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  atEnd(() => stop(issuer))
  const port = await new Promise((resolve) =>
    issuer.stdout.once('data', (text) => resolve(String(text).trim())),
  )
  takeVariables(run('oidc-agent', []), ['OIDC_SOCK', 'OIDCD_PID'])
  endAtEnd('OIDCD_PID')
  writeFileSync(join(home, 'password'), 'bench', { mode: 0o600 })
  run('oidc-gen', [
    ...['bench', `--issuer=https://localhost:${port}/`, '--client-id=c', '--client-secret=s', '--rt=r'],
    ...['--scope=openid offline_access', `--cp=${cert}`, `--pw-file=${join(home, 'password')}`],
    ...['--redirect-uri=http://localhost:4242', '--confirm-default'],
  ])
  run('oidc-token', ['bench'])
  return 'oidc-token bench'
}

const ISSUER = `
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
const [cert, key] = process.argv.slice(2).map((path) => readFileSync(path))
const server = createServer({ cert, key }, (request, response) => {
  const base = 'https://localhost:' + server.address().port
  const discovery = { issuer: base + '/', authorization_endpoint: base + '/a', token_endpoint: base + '/t', scopes_supported: ['openid', 'offline_access'],
    grant_types_supported: ['refresh_token', 'authorization_code'], response_types_supported: ['code'] }
  const token = { access_token: 'x'.repeat(40), token_type: 'Bearer', expires_in: 86400, refresh_token: 'r' }
  response.setHeader('content-type', 'application/json')
  request.resume().on('end', () => response.end(JSON.stringify(request.url.includes('well-known') ? discovery : token)))
})
server.listen(0, '127.0.0.1', () => process.stdout.write(String(server.address().port)))
`

async function startSecretService() {
  if (find('secret-tool') === undefined || find('gnome-keyring-daemon') === undefined) return undefined
  const bus = spawn('dbus-daemon', ['--session', '--nofork', '--print-address'], {
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  atEnd(() => stop(bus))
  env.DBUS_SESSION_BUS_ADDRESS = await new Promise((resolve) =>
    bus.stdout.once('data', (text) => resolve(String(text).trim())),
  )
  const keyring = spawn('gnome-keyring-daemon', ['--unlock', '--foreground', '--components=secrets'], {
    env,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  atEnd(() => stop(keyring))
  keyring.stdin.end('bench')
  await sleep(1_000)
  run('secret-tool', ['store', '--label=bench', 'service', 'bench'], 'x'.repeat(40))
  return 'secret-tool lookup service bench'
}

function startGitCache() {
  if (find('git') === undefined) return undefined
  const path = join(home, 'git', 'cache.sock')
  execFileSync('mkdir', ['-p', '-m', '0700', join(home, 'git')])
  const given = 'protocol=https\nhost=bench.invalid\nusername=u\npassword=p\n\n'
  spawnSync('git', ['credential-cache', '--socket', path, 'store'], {
    env,
    input: given,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  atEnd(() => void spawnSync('git', ['credential-cache', '--socket', path, 'exit'], { env, stdio: 'ignore' }))
  return `git credential-cache --socket ${path} get`
}

function findPrefect() {
  const usual = join(homedir(), '.cache', 'prefect-auth-broker-ci', 'prefect3', 'bin', 'prefect')
  const program = existsSync(usual) ? usual : find('prefect')
  return program === undefined ? undefined : `${program} config view`
}
