// What grows with the work: first starts by profiles, a token by the length of the list, and what others wait beside the
// answer with a long audit log.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makePlace, startAt } from './daemon.mjs'
import { ask, cpuOf, isQuick, note, ROUNDS, stop } from './lib.mjs'

/** A daemon with so many profiles, not started, at a place where none was before. */
function placeWith(name, many) {
  const id = (number) => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`
  const table = (at) =>
    `[profiles.p${at}]\nPREFECT_API_URL = "https://api.prefect.cloud/api/accounts/${id(1)}/workspaces/${id(at)}"\nPREFECT_API_KEY = "pnu_${String(at).padStart(36, 'k')}"\n`
  const text = `active = "p0"\n${Array.from({ length: many }, (_, at) => table(at)).join('')}`
  const place = makePlace(`growth-${name}`, text)
  rmSync(place.state, { recursive: true, force: true })
  return place
}

/** Milliseconds of CPU until the first answer. */
async function startOnce(place) {
  const child = await startAt(place, 10)
  const cpu = cpuOf(child.pid) / 1000
  await stop(child)
  return cpu
}

async function measureProfiles(samples) {
  for (let round = 0; round < ROUNDS; round += 1) {
    const [one, some, many] = [
      await startOnce(placeWith('1', 1)),
      await startOnce(placeWith('200', 200)),
      await startOnce(placeWith('1000', 1000)),
    ]
    note(samples, 'profiles-200', 'ours', some)
    note(samples, 'profiles-200', '1 profile', one)
    note(samples, 'profiles-1000', 'ours', many)
    note(samples, 'profiles-1000', '1 profile', one)
    note(samples, 'profiles-1000', '200 profiles', some)
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

async function measureTokens(samples) {
  const place = placeWith('tokens', 1)
  const child = await startAt(place)
  const make = async (many) => {
    const before = cpuOf(child.pid)
    const wanted = { name: 'job', power: 'proxy', profiles: ['p0'], expires_in: '1h' }
    for (let count = 0; count < many; count += 1) {
      const status = await post(place.socket, '/v1/tokens', wanted)
      if (status !== 201 && status !== 200) throw new Error(`no token: ${status}`)
    }
    return (cpuOf(child.pid) - before) / 1000 / many
  }
  const together = () => Promise.all(Array.from({ length: 50 }, () => make(1)))
  try {
    await make(isQuick ? 5 : 50) // warmed up
    note(samples, 'token', 'short list', await make(20))
    for (let length = 75; length < 3000; length += 50) await together()
    note(samples, 'token', 'ours', await make(20))
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

export async function measureAudit(samples) {
  const place = placeWith('audit', 1)
  mkdirSync(place.state, { mode: 0o700 })
  // The files that there are at most, 50 MB, and one that was never rotated.
  for (const name of ['audit.jsonl.1', 'audit.jsonl.2', 'audit.jsonl.3', 'audit-kept.jsonl'])
    writeFileSync(join(place.state, name), auditText(10e6), { mode: 0o600 })
  writeFileSync(join(place.state, 'audit.jsonl'), auditText(9e6), { mode: 0o600 })
  const child = await startAt(place)
  try {
    await ask(place.socket, '/v1/audit')
    for (let round = 0; round < ROUNDS; round += 1) {
      const began = performance.now()
      note(samples, 'audit', 'ours', await longest(place.socket, ask(place.socket, '/v1/audit')))
      const alone = await longest(place.socket, sleep(performance.now() - began))
      note(samples, 'audit', 'nothing beside it', alone)
    }
  } finally {
    await stop(child)
  }
}

export async function measureGrowth(samples) {
  await measureProfiles(samples)
  await measureTokens(samples)
}
