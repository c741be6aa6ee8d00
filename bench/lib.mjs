// What the benchmarks share: a home with a key in it, the shipped daemon, an nginx constant, C yardsticks, rows of a table.
import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export const ROUNDS = Number(process.env.ROUNDS ?? 5)
/** What the launcher of the service gives to Node. */
export const FLAGS = ['--max-semi-space-size=1']
export const bench = fileURLToPath(new URL('.', import.meta.url))
export const dist = fileURLToPath(new URL('../dist/', import.meta.url))
export const home = mkdtempSync(join(tmpdir(), 'pab-bench-'))
chmodSync(home, 0o700)
export const socket = join(home, 'authd.sock')
export const env = {
  ...process.env,
  HOME: home,
  PREFECT_AUTH_SOCKET: socket,
  PREFECT_AUTH_STATE_DIR: join(home, 'state'),
}
// With a certificate bundle in it, every start of Node parses it.
delete env.NODE_EXTRA_CA_CERTS

const cleanups = []

/** Runs at the end, last one first. */
export function atEnd(cleanup) {
  cleanups.push(cleanup)
}

export async function cleanUp() {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  rmSync(home, { recursive: true, force: true })
}

/** `letter` makes it another key. */
export function writeProfile(letter) {
  mkdirSync(join(home, '.prefect'), { recursive: true })
  const id = (digit) => `${digit.repeat(8)}-0000-4000-8000-${digit.repeat(12)}`
  writeFileSync(
    join(home, '.prefect', 'profiles.toml'),
    `active = "cloud"\n[profiles.cloud]\nPREFECT_API_URL = "https://api.prefect.cloud/api/accounts/${id('0')}/workspaces/${id('1')}"\nPREFECT_API_KEY = "pnu_${letter.repeat(36)}"\n`,
    { mode: 0o600 },
  )
}

export const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]

/** The median of the ratios, pair by pair: what slows both down falls out. */
export const medianRatio = (ours, theirs) => median(ours.map((value, index) => value / theirs[index]))

export const say = (text) => process.stdout.write(`${text}\n`)

export function heading() {
  say('| what | ours | yardstick | ratio | goal |\n|---|---|---|---|---|')
}

export function row(what, ours, yardstick, ratio, goal) {
  say(
    `| ${what} | ${ours} | ${yardstick} | ${ratio === undefined ? '–' : `${ratio.toFixed(2)}x`} | ${goal} |`,
  )
}

/** A program that is there, or nothing. */
export function find(program) {
  try {
    return execFileSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).trim()
  } catch {
    return undefined
  }
}

const compiled = new Map()

/** A C program of ours, compiled on the spot. */
export function compile(name) {
  if (!compiled.has(name)) {
    execFileSync('cc', ['-O2', '-w', '-o', join(home, name), join(bench, 'c', `${name}.c`)])
    compiled.set(name, join(home, name))
  }
  return compiled.get(name)
}

/** One answer over a unix socket, or its refusal. */
export function ask(path, target = '/livez') {
  return new Promise((resolve, reject) => {
    // No connection is left behind: it would have to be watched over.
    const options = { socketPath: path, path: target, headers: { host: 'authd' }, agent: false }
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

async function untilAnswers(path) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await ask(path)
    } catch (error) {
      if (tries > 500) throw error
      await sleep(20)
    }
  }
}

export async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await ended
}

let daemon

/** The one daemon of this run, with a key to give out. It has settled: its code cache is written. */
export async function startDaemon() {
  if (daemon !== undefined) return daemon
  writeProfile('x')
  const start = async () => {
    const child = spawn(process.execPath, [...FLAGS, join(dist, 'authd.js'), ...DAEMON_FLAGS], {
      env: { ...env, PREFECT_AUTH_PORT: '0' },
      stdio: 'ignore',
    })
    await untilAnswers(socket)
    return child
  }
  const first = await start()
  await sleep(12_000)
  await stop(first)
  daemon = await start()
  atEnd(() => stop(daemon))
  return daemon
}

export const DAEMON_FLAGS = ['--vault-backend=file', '--log-level=error']

let nginx

/** Answers every request with 700 bytes, on a unix socket and a TCP port. */
export async function startNginx(port) {
  if (nginx !== undefined) return
  writeFileSync(
    join(home, 'nginx.conf'),
    `daemon off; master_process off; pid ${home}/nginx.pid; error_log /dev/null;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; client_body_temp_path ${home}/b; proxy_temp_path ${home}/p; fastcgi_temp_path ${home}/f; uwsgi_temp_path ${home}/u; scgi_temp_path ${home}/s;
server { listen unix:${home}/nginx.sock; listen 127.0.0.1:${port}; location / { default_type application/json; return 200 '${'x'.repeat(700)}'; } } }\n`,
  )
  nginx = spawn('nginx', ['-c', join(home, 'nginx.conf'), '-p', home], { stdio: 'ignore' })
  atEnd(() => stop(nginx))
  await untilAnswers(join(home, 'nginx.sock'))
}

export function memory(pid) {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const mb = (name) => Number(new RegExp(`^${name}: +(\\d+)`, 'm').exec(rollup)?.[1] ?? 0) / 1024
  return { rss: mb('Rss'), privateDirty: mb('Private_Dirty') }
}
