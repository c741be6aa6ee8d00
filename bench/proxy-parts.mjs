// The parts of the proxy's benchmarks: an upstream over TLS, the shipped daemon in front of it, a load, CPU and memory of a process.
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export const ROUNDS = Number(process.env.ROUNDS ?? 3)
export const WARM_UP_S = Number(process.env.WARM_UP ?? 15)
export const MB = 1_000_000
const dist = new URL('../dist/', import.meta.url).pathname
export const home = mkdtempSync(join(tmpdir(), 'pab-bench-'))
export const own = `accounts/${'1'.repeat(8)}-0000-4000-8000-${'1'.repeat(12)}/workspaces/${'2'.repeat(8)}-0000-4000-8000-${'2'.repeat(12)}`
export const key = `pnu_${'x'.repeat(36)}`
export const small = JSON.stringify({
  flow_runs: { id: { any_: [own] } },
  limit: 200,
  sort: 'START_TIME_DESC',
})
const smallFile = join(home, 'small.json')
writeFileSync(smallFile, small)

export const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]
export const say = (text) => process.stdout.write(`${text}\n`)
export const load = () =>
  loadavg()
    .map((each) => each.toFixed(1))
    .join(' ')

export function sayMachine() {
  say(`${cpus().length} cores, load ${load()} at the start, ${ROUNDS} rounds\n`)
}

const children = []

export function start(program, args, env = process.env) {
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  return child
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await ended
}

/** Ends everything that was started, and removes its home. */
export async function cleanUp() {
  for (const child of children.reverse()) await stop(child)
  rmSync(home, { recursive: true, force: true })
}

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Microseconds of CPU that all threads of a process have used. */
export function cpuOf(pid) {
  let ns = 0
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0])
  }
  return ns / 1000
}

export function rssOf(pid) {
  const [, kB] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return (Number(kB) * 1024) / MB
}

export const certificate = join(home, 'cert.pem')
export const secret = join(home, 'key.pem')

/** Resolves with its port. */
export async function startUpstream() {
  const port = await freePort()
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'],
      ...['-keyout', secret, '-out', certificate],
    ],
    { stdio: 'ignore' },
  )
  const program = join(home, 'upstream')
  execFileSync('go', ['build', '-o', program, new URL('upstream.go', import.meta.url).pathname])
  const server = start(program, [String(port), certificate, secret])
  await new Promise((resolve) => server.stdout.once('data', resolve))
  return port
}

/** The daemon of `from` (a `dist/`), with a home of its own, and `flags` for Node. */
export async function startOurs(upstream, { name = 'ours', from = dist, flags = [], env: more = {} } = {}) {
  const place = join(home, name)
  mkdirSync(join(place, '.prefect'), { recursive: true, mode: 0o700 })
  writeFileSync(
    join(place, '.prefect', 'profiles.toml'),
    `active = "cloud"\n[profiles.cloud]\nPREFECT_API_URL = "https://127.0.0.1:${upstream}/api/${own}"\nPREFECT_API_KEY = "${key}"\n`,
    { mode: 0o600 },
  )
  const env = {
    ...{
      PATH: process.env.PATH,
      HOME: place,
      PREFECT_AUTH_SOCKET: join(place, 'authd.sock'),
      PREFECT_AUTH_PORT: '0',
    },
    SSL_CERT_FILE: certificate,
    PREFECT_CLOUD_API_URL: `https://127.0.0.1:${upstream}/api`,
    ...more,
  }
  const daemon = start(
    process.execPath,
    [...flags, join(from, 'authd.js'), '--vault-backend=file', '--log-level=error'],
    env,
  )
  const cli = (...args) =>
    execFileSync(process.execPath, [join(from, 'auth.js'), ...args], {
      ...{ env, encoding: 'utf8' },
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  for (let tries = 0; ; tries += 1) {
    try {
      const origin = cli('status', '--url')
      const token = cli('token', 'create', '--name', 'bench', '--power', 'proxy')
      return { name, pid: daemon.pid, base: `${origin}/proxy/cloud/api/${own}`, token, cli }
    } catch (error) {
      if (tries > 50) throw error
      await sleep(100)
    }
  }
}

/** Requests per second with 16 keep-alive connections, and CPU per request. */
export function postLoad({ pid, base, token }, seconds, flags = ['-c', '16']) {
  const before = pid === undefined ? 0 : cpuOf(pid)
  const output = execFileSync(
    'h2load',
    [
      ...['--h1', '-D', String(seconds), ...flags, '-t', '1', '-d', smallFile],
      ...['-H', 'content-type: application/json', '-H', `authorization: Bearer ${token}`],
      `${base}/flow_runs/filter`,
    ],
    { encoding: 'utf8', maxBuffer: 256 * MB },
  )
  const [, total, succeeded] = /requests: (\d+) total.*?(\d+) succeeded/.exec(output) ?? []
  const done = Number(succeeded)
  if (!(done > 0) || Number(total) - done > 32) throw new Error(output)
  return { rate: done / seconds, cpu: ((pid === undefined ? 0 : cpuOf(pid)) - before) / done }
}
