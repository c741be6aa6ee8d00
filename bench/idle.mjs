// What the daemon costs while nothing happens: memory, and how often it wakes up, in the states a user's daemon can be in.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { askAgain, startOidcAgent, startOpenBao, startSshAgent } from './agents.mjs'
import { makePlace, oneProfile, startAt, startDaemon } from './daemon.mjs'
import { ask, compileGo, env, freePort, home, isQuick, memory, note, start, untilAnswers } from './lib.mjs'
import { caddy } from './proxies.mjs'

const LOOK_MS = 50
const SETTLE_MS = isQuick ? 3_000 : 15_000
const SECONDS = isQuick ? 5 : 60

export async function measureIdle(samples) {
  const later = await startDaemon()
  const peers = await startPeers()
  const ours = { idle: later.pid }
  await ask(later.socket, '/v1/credentials')
  for (const [id, paths] of [
    ['idle-first', ['/v1/credentials']],
    ['idle-more', ['/v1/credentials', '/v1/status']],
  ]) {
    const place = makePlace(id, oneProfile(), { env: { PREFECT_AUTH_PORT: '0' } })
    ours[id] = (await startAt(place)).pid
    for (const path of paths) await ask(place.socket, path)
  }
  // What follows a start and an answer: the audit's lines are written, V8 has tidied up.
  await sleep(SETTLE_MS)
  const bare = peers.find(({ name }) => name === 'node:http')
  const [wakeUps, bareWakeUps] = await Promise.all([ours.idle, bare.pids[0]].map(countWakeUps))
  note(samples, 'wake-ups', 'ours', wakeUps)
  note(samples, 'wake-ups', bare.name, bareWakeUps)
  const noteMemory = (id, name, pids) => {
    const { rss, privateDirty } = memory(...pids)
    note(samples, id, name, rss)
    note(samples, `${id}-private`, name, privateDirty)
  }
  for (const [id, pid] of Object.entries(ours)) {
    noteMemory(id, 'ours', [pid])
    for (const { name, pids } of id === 'idle' ? peers : [bare]) noteMemory(id, name, pids)
  }
}

/** Each has answered once. */
async function startPeers() {
  const [bareFile, bareSocket, goSocket] = ['idle.mjs', 'idle.sock', 'idle-go.sock'].map((name) =>
    join(home, name),
  )
  writeFileSync(
    bareFile,
    `import http from 'node:http'\nhttp.createServer((q, r) => r.end('{}')).listen('${bareSocket}')\n`,
  )
  const [caddyPort, goPort] = [await freePort(), await freePort()]
  const [program, ...args] = caddy('idle', `http://:${caddyPort} {\n bind 127.0.0.1\n respond "x" 200\n}`)
  const [bare, web, go] = [
    start(process.execPath, [bareFile], { env }),
    start(program, args),
    start(compileGo('peers'), ['constant', goSocket, String(goPort)]),
  ]
  for (const where of [bareSocket, `http://127.0.0.1:${caddyPort}`, goSocket]) await untilAnswers(where)
  const agents = [await startOpenBao(), await startOidcAgent(), await startSshAgent()]
  await ask(agents[0].socket, agents[0].path)
  for (const agent of agents.slice(1)) await askAgain(agent, 1, true)
  return [
    { name: 'node:http', pids: [bare.pid] },
    { name: 'Caddy', pids: [web.pid] },
    { name: 'Go net/http', pids: [go.pid] },
    ...agents,
  ]
}

/** A minute's, each a change of the main thread's context switches after a look that saw none. */
async function countWakeUps(pid) {
  const status = () => readFileSync(`/proc/${pid}/task/${pid}/status`, 'utf8')
  const switches = () => Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status())[1])
  let last = switches()
  let isAwake = false
  let count = 0
  for (let look = 0; look < (SECONDS * 1000) / LOOK_MS; look += 1) {
    await sleep(LOOK_MS)
    const seen = switches()
    if (seen !== last && !isAwake) count += 1
    isAwake = seen !== last
    last = seen
  }
  return (count * 60) / SECONDS
}
