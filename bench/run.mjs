// Measures the shipped daemon and commands beside yardsticks in the same run: `node bench/run.mjs` after `npm run build`.
// Needs nginx, h2load (nghttp2-client), hyperfine and ssh-add on the path. Prints ratios; absolute times are the machine's.
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const ROUNDS = Number(process.env.ROUNDS ?? 5)
const dist = new URL('../dist/', import.meta.url).pathname
const home = mkdtempSync(join(tmpdir(), 'pab-bench-'))
const socket = join(home, 'authd.sock')
const env = {
  ...process.env,
  HOME: home,
  PREFECT_AUTH_SOCKET: socket,
  PREFECT_AUTH_STATE_DIR: join(home, 'state'),
  NODE_EXTRA_CA_CERTS: undefined,
}
mkdirSync(join(home, '.prefect'))
writeFileSync(
  join(home, '.prefect', 'profiles.toml'),
  `active = "cloud"\n[profiles.cloud]\nPREFECT_API_URL = "https://api.prefect.cloud/api/accounts/${'0'.repeat(8)}-0000-4000-8000-${'0'.repeat(12)}/workspaces/${'1'.repeat(8)}-0000-4000-8000-${'1'.repeat(12)}"\nPREFECT_API_KEY = "pnu_${'x'.repeat(36)}"\n`,
  { mode: 0o600 },
)

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]
const say = (text) => process.stdout.write(`${text}\n`)
const row = (name, value, yardstick, ratio) =>
  say(`| ${name} | ${value} | ${yardstick} | ${ratio === undefined ? '–' : `${ratio.toFixed(2)}x`} |`)

/** Milliseconds from spawn to the first answer on the socket. */
async function coldStart(program, args, path) {
  const began = performance.now()
  const child = spawn(process.execPath, [program, ...args], { env, stdio: 'ignore' })
  for (;;) {
    try {
      execFileSync('curl', ['-qfsS', '--unix-socket', path, 'http://authd/livez'], { stdio: 'ignore' })
      break
    } catch {
      await sleep(2)
    }
  }
  return { child, ms: performance.now() - began }
}

async function stop(child) {
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await ended
}

function requestsPerSecond(path, url, clients, header = []) {
  const output = execFileSync(
    'h2load',
    [
      '--h1',
      '-D',
      '2',
      '--warm-up-time=1',
      '-c',
      String(clients),
      '-t',
      '1',
      ...header,
      '-B',
      `unix:${path}`,
      url,
    ],
    { encoding: 'utf8' },
  )
  return Number(/finished in [^,]+, ([\d.]+) req\/s/.exec(output)?.[1] ?? 0)
}

/** Median wall ms of a command. */
function wall(command) {
  const file = join(home, 'hyperfine.json')
  execFileSync('hyperfine', ['-N', '-w', '2', '-r', '20', '-i', '--export-json', file, command], {
    env,
    stdio: 'ignore',
  })
  return JSON.parse(readFileSync(file, 'utf8')).results[0].median * 1000
}

function memory(pid) {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const kB = (name) => Number(new RegExp(`^${name}: +(\\d+)`, 'm').exec(rollup)?.[1] ?? 0)
  return { rss: kB('Rss') / 1024, private: kB('Private_Dirty') / 1024 }
}

writeFileSync(
  join(home, 'bare.mjs'),
  `import http from 'node:http'\nhttp.createServer((q, r) => r.end('{}')).listen(${JSON.stringify(join(home, 'bare.sock'))})\n`,
)
writeFileSync(
  join(home, 'nginx.conf'),
  `daemon off; master_process off; pid ${home}/nginx.pid; error_log /dev/null;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 1000000000; client_body_temp_path ${home}/b; proxy_temp_path ${home}/p; fastcgi_temp_path ${home}/f; uwsgi_temp_path ${home}/u; scgi_temp_path ${home}/s;
server { listen unix:${home}/nginx.sock; location / { default_type application/json; return 200 '${'x'.repeat(700)}'; } } }\n`,
)

try {
  say(`| what | ours | yardstick | ratio |\n|---|---|---|---|`)
  const starts = []
  const bare = []
  for (let round = 0; round < ROUNDS; round += 1) {
    const ours = await coldStart(
      join(dist, 'authd.js'),
      ['--vault-backend=file', '--port=off', '--log-level=error'],
      socket,
    )
    starts.push(ours.ms)
    await stop(ours.child)
    rmSync(join(home, 'bare.sock'), { force: true })
    const theirs = await coldStart(join(home, 'bare.mjs'), [], join(home, 'bare.sock'))
    bare.push(theirs.ms)
    await stop(theirs.child)
  }
  row(
    'cold start to first answer, ms',
    median(starts).toFixed(0),
    `bare node:http ${median(bare).toFixed(0)}`,
    median(starts) / median(bare),
  )

  const { child } = await coldStart(
    join(dist, 'authd.js'),
    ['--vault-backend=file', '--port=off', '--log-level=error'],
    socket,
  )
  const nginx = spawn('nginx', ['-c', join(home, 'nginx.conf'), '-p', home], { stdio: 'ignore' })
  const agent = execFileSync('ssh-agent', ['-s', '-a', join(home, 'agent.sock')], { encoding: 'utf8' })
  const agentPid = Number(/SSH_AGENT_PID=(\d+)/.exec(agent)?.[1])
  env.SSH_AUTH_SOCK = join(home, 'agent.sock')
  try {
    await sleep(5_000)
    const idle = memory(child.pid)
    row('idle memory, MB resident', idle.rss.toFixed(0), '–')
    row('idle memory, MB private dirty', idle.private.toFixed(0), '–')

    const auth = join(dist, 'auth.js')
    const curl = wall(`curl -qsS --unix-socket ${socket} http://authd/v1/env`)
    const sshAdd = wall('ssh-add -l')
    const node = wall(`${process.execPath} -e 0`)
    row('curl /v1/env, ms', curl.toFixed(1), `ssh-add -l ${sshAdd.toFixed(1)}`, curl / sshAdd)
    const envMs = wall(`${process.execPath} ${auth} env`)
    row('prefect-auth env, ms', envMs.toFixed(1), `node -e 0 ${node.toFixed(1)}`, envMs / node)
    const execMs = wall(`${process.execPath} ${auth} exec -- true`)
    row('prefect-auth exec -- true, ms', execMs.toFixed(1), `node -e 0 ${node.toFixed(1)}`, execMs / node)

    for (const clients of [16, 1]) {
      const ours = []
      const theirs = []
      for (let round = 0; round < ROUNDS; round += 1) {
        ours.push(requestsPerSecond(socket, 'http://authd/v1/credentials', clients))
        theirs.push(requestsPerSecond(join(home, 'nginx.sock'), 'http://authd/', clients))
      }
      row(
        `GET /v1/credentials, unix socket, ${clients} connection(s), requests/s`,
        median(ours).toFixed(0),
        `nginx constant ${median(theirs).toFixed(0)}`,
        median(ours) / median(theirs),
      )
    }
    const loaded = memory(child.pid)
    row('memory after the load, MB resident', loaded.rss.toFixed(0), '–')
  } finally {
    nginx.kill()
    process.kill(agentPid)
    await stop(child)
  }
} finally {
  rmSync(home, { recursive: true, force: true })
}
