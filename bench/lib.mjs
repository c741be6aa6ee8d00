// What the benchmarks share: a home that goes away, processes that end with us, their CPU and memory, programs to compile.
import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { cpus, homedir, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export { median } from './render.mjs'

/** Two minutes instead of ten, to see that all of it works: such figures mean nothing. */
export const isQuick = process.argv.includes('--quick')
export const ROUNDS = Number(process.env.ROUNDS ?? (isQuick ? 1 : 5))
/** Programs that compile while they run, and are measured as they are after hours. */
export const WARM_UP_S = Number(process.env.WARM_UP ?? (isQuick ? 1 : 12))
export const MB = 1_000_000
export const bench = fileURLToPath(new URL('.', import.meta.url))
export const dist = fileURLToPath(new URL('../dist/', import.meta.url))
/** Where peers.sh puts what is no Debian package. */
export const peersDir = process.env.PAB_BENCH_DIR ?? join(homedir(), '.cache', 'prefect-auth-broker-bench')
export const home = mkdtempSync(join(tmpdir(), 'pab-bench-'))
chmodSync(home, 0o700)
export const env = { ...process.env, HOME: home }
for (const name of Object.keys(env)) {
  // With a certificate bundle in it, every start of Node parses it. What is the caller's own decides nothing here.
  if (name === 'NODE_EXTRA_CA_CERTS' || name.startsWith('PREFECT_') || name.startsWith('XDG_'))
    delete env[name]
}

export const say = (text) => process.stdout.write(`${text}\n`)
export const load = () =>
  loadavg()
    .map((each) => each.toFixed(1))
    .join(' ')
export const machine = () =>
  `${cpus().length} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), Linux, Node ${process.versions.node}`

const cleanups = []

/** Runs at the end, last one first. */
export function atEnd(cleanup) {
  cleanups.push(cleanup)
}

/** Ends everything that was started, and removes its home. */
export async function cleanUp() {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  rmSync(home, { recursive: true, force: true })
}

for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, () => cleanUp().finally(() => process.exit(130)))

/** What all of them print on stderr: shown if something goes wrong. */
export const stderrLog = join(home, 'stderr.log')
const stderrFile = openSync(stderrLog, 'a', 0o600)

/** A process that ends with us; what it prints on stdout can be read, or is dropped. */
export function start(program, args, { env: own = env, stdin = 'ignore', stdout = 'ignore' } = {}) {
  const child = spawn(program, args, { env: own, stdio: [stdin, stdout, stderrFile] })
  atEnd(() => stop(child))
  return child
}

export async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await ended
}

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Microseconds of CPU that all threads of these processes have used. */
export function cpuOf(...pids) {
  let ns = 0
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`))
      ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0])
  }
  return ns / 1000
}

/** MB of these processes. */
export function memory(...pids) {
  const sum = { rss: 0, privateDirty: 0 }
  for (const pid of pids) {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
    const mb = (name) => Number(new RegExp(`^${name}: +(\\d+)`, 'm').exec(rollup)?.[1] ?? 0) / 1024
    sum.rss += mb('Rss')
    sum.privateDirty += mb('Private_Dirty')
  }
  return sum
}

const compiled = new Map()

function compileWith(name, make) {
  if (!compiled.has(name)) {
    make(join(home, name))
    compiled.set(name, join(home, name))
  }
  return compiled.get(name)
}

/** A C program of ours, compiled on the spot; and one in Go. */
export const compile = (name) =>
  compileWith(name, (out) => execFileSync('cc', ['-O2', '-w', '-o', out, join(bench, 'c', `${name}.c`)]))
export const compileGo = (name) =>
  compileWith(`go-${name}`, (out) =>
    // The caller's HOME: Go keeps its builds there.
    execFileSync('go', ['build', '-o', out, join(bench, `${name}.go`)], { env: process.env }),
  )

/** A secret for a listener on this machine. */
export const certificate = join(home, 'cert.pem')
export const secret = join(home, 'key.pem')
let isCertified = false
export function makeCertificate() {
  if (isCertified) return
  isCertified = true
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'],
      ...['-keyout', secret, '-out', certificate],
    ],
    { stdio: 'ignore' },
  )
}

/** One answer over a unix socket or from `http://127.0.0.1:PORT`, or its refusal. */
export function ask(where, target = '/livez') {
  return new Promise((resolve, reject) => {
    // No connection is left behind: it would have to be watched over.
    const options = where.startsWith('/')
      ? { socketPath: where, path: target, headers: { host: 'authd' }, agent: false }
      : { port: new URL(where).port, host: '127.0.0.1', path: target, agent: false }
    const call = request(options, (response) => {
      let text = ''
      response.on('data', (chunk) => {
        text += chunk
      })
      response.on('end', () => resolve(text))
    })
    call.on('error', reject)
    call.end()
  })
}

export async function untilAnswers(where, everyMs = 20) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await ask(where)
    } catch (error) {
      if (tries * everyMs > 60_000) throw error
      await sleep(everyMs)
    }
  }
}

/** Adds a value to the samples of a row, by who it is of. */
export function note(samples, id, name, value) {
  samples[id] ??= {}
  samples[id][name] ??= []
  samples[id][name].push(value)
}
