// What grows with the work: first and later starts by profiles, a token by the length of the list, and what others wait
// beside the answer with a long audit log.
import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ask, DAEMON_FLAGS, dist, env, FLAGS, home, median, medianRatio, ROUNDS, row, stop } from './lib.mjs'

const PROFILES = [1, 200, 1000]
const TOKENS = [1, 256, 3000]

/** CPU of all threads so far, ms. */
function cpuOf(pid) {
  const threads = readdirSync(`/proc/${pid}/task`)
  const read = (thread) => readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8')
  return threads.reduce((sum, thread) => sum + Number(read(thread).split(' ')[0]), 0) / 1e6
}

function writeProfiles(place, many) {
  const id = (number) => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`
  const table = (at) =>
    `[profiles.p${at}]\nPREFECT_API_URL = "https://api.prefect.cloud/api/accounts/${id(1)}/workspaces/${id(at)}"\nPREFECT_API_KEY = "pnu_${String(at).padStart(36, 'k')}"\n`
  mkdirSync(join(place, '.prefect'), { recursive: true, mode: 0o700 })
  const text = `active = "p0"\n${Array.from({ length: many }, (_, at) => table(at)).join('')}`
  writeFileSync(join(place, '.prefect', 'profiles.toml'), text, { mode: 0o600 })
}

/** Starts a daemon at `place`; resolves once it answers. */
async function start(place) {
  const path = join(place, 's')
  const child = spawn(process.execPath, [...FLAGS, join(dist, 'authd.js'), ...DAEMON_FLAGS, '--port=off'], {
    env: {
      ...env,
      HOME: place,
      PREFECT_AUTH_SOCKET: path,
      PREFECT_AUTH_STATE_DIR: join(place, 'state'),
      PREFECT_CLOUD_API_URL: 'https://api.prefect.cloud/api',
    },
    stdio: 'ignore',
  })
  for (let tries = 0; tries < 3000; tries += 1) {
    try {
      await ask(path)
      return { child, path }
    } catch {
      await sleep(10)
    }
  }
  throw new Error(`no daemon with ${place}`)
}

/** CPU until the first answer. */
async function startOnce(place) {
  const { child } = await start(place)
  const cpu = cpuOf(child.pid)
  await stop(child)
  return cpu
}

async function measureProfiles() {
  const costs = { first: new Map(), later: new Map() }
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const many of PROFILES) {
      const place = join(home, `growth-${many}`)
      rmSync(place, { recursive: true, force: true })
      writeProfiles(place, many)
      for (const which of ['first', 'later']) {
        const known = costs[which].get(many) ?? []
        costs[which].set(many, [...known, await startOnce(place)])
      }
    }
  }
  for (const which of ['first', 'later']) {
    const one = costs[which].get(1)
    for (const many of PROFILES.slice(1)) {
      const ours = costs[which].get(many)
      const goal = which === 'first' && many === 200 ? '≤ 2.0x' : '–'
      row(
        `${which} start with ${many} profiles, ms of CPU`,
        ...[median(ours).toFixed(0), `1 profile ${median(one).toFixed(0)}`, medianRatio(ours, one), goal],
      )
    }
  }
}

function post(path, target, body) {
  return new Promise((resolve, reject) => {
    const headers = { host: 'authd', 'content-type': 'application/json' }
    const call = request(
      { socketPath: path, path: target, method: 'POST', headers, agent: false },
      (response) => {
        response.resume().on('end', () => resolve(response.statusCode))
      },
    )
    call.on('error', reject)
    call.end(JSON.stringify(body))
  })
}

async function measureTokens() {
  const place = join(home, 'growth-tokens')
  writeProfiles(place, 1)
  const { child, path } = await start(place)
  const make = async (many) => {
    const before = cpuOf(child.pid)
    const wanted = { name: 'job', power: 'proxy', profiles: ['p0'], expires_in: '1h' }
    for (let count = 0; count < many; count += 1) {
      const status = await post(path, '/v1/tokens', wanted)
      if (status !== 201 && status !== 200) throw new Error(`no token: ${status}`)
    }
    return (cpuOf(child.pid) - before) / many
  }
  try {
    await make(50) // warmed up
    let length = 50
    let first
    for (const wanted of TOKENS) {
      while (length < wanted) {
        await Promise.all(Array.from({ length: 50 }, () => make(1)))
        length += 50
      }
      const cost = await make(20)
      length += 20
      first ??= cost
      if (cost === first) continue
      row(
        `a token in a list of ${wanted}, ms of CPU`,
        ...[cost.toFixed(1), `in a short list ${first.toFixed(1)}`, cost / first, '–'],
      )
    }
  } finally {
    await stop(child)
  }
}

/** Newest last, of so many bytes. */
function auditText(bytes) {
  const lines = []
  for (let at = 0, size = 0; size < bytes; at += 1) {
    const time = new Date(Date.now() - 86_400_000 + at).toISOString()
    const line = `{"at":"${time}","action":"credentials","outcome":"given","door":"tcp","profile":"p0","fingerprint":"sha256:1f2e3d4c5b6a","token_id":"t${at % 50}","token_name":"job","agent":"python-httpx/0.27","conn":"c${at}"}\n`
    size += line.length
    lines.push(line)
  }
  return lines.join('')
}

/** The longest of many requests one after the other, ms, until `over`. */
async function longest(path, over) {
  let isOver = false
  let most = 0
  over.then(() => {
    isOver = true
  })
  while (!isOver) {
    const before = performance.now()
    await ask(path)
    most = Math.max(most, performance.now() - before)
  }
  return most
}

async function measureAudit() {
  const place = join(home, 'growth-audit')
  writeProfiles(place, 1)
  const state = join(place, 'state')
  mkdirSync(state, { mode: 0o700 })
  // The files that there are at most, 50 MB, and one that was never rotated.
  for (const name of ['audit.jsonl.1', 'audit.jsonl.2', 'audit.jsonl.3', 'audit-kept.jsonl'])
    writeFileSync(join(state, name), auditText(10e6), { mode: 0o600 })
  writeFileSync(join(state, 'audit.jsonl'), auditText(9e6), { mode: 0o600 })
  const { child, path } = await start(place)
  const since = new Date(Date.now() - 1000).toISOString()
  try {
    await ask(path, '/v1/audit')
    for (const [what, target] of [
      ['the whole audit log', '/v1/audit'],
      ['its last second', `/v1/audit?since=${since}`],
    ]) {
      const beside = []
      const alone = []
      for (let round = 0; round < ROUNDS; round += 1) {
        const began = performance.now()
        beside.push(await longest(path, ask(path, target)))
        alone.push(await longest(path, sleep(performance.now() - began)))
      }
      row(
        `longest wait beside ${what}, ms`,
        ...[
          median(beside).toFixed(1),
          `without it ${median(alone).toFixed(1)}`,
          medianRatio(beside, alone),
          '≤ 10 ms more',
        ],
      )
    }
  } finally {
    await stop(child)
  }
}

export async function measureGrowth() {
  await measureProfiles()
  await measureTokens()
  await measureAudit()
}
