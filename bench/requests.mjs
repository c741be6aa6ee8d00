// `GET /v1/credentials`, CPU of all threads of who answers, beside constants of the same size and others that keep a secret.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { askAgain, startGitCache, startOidcAgent, startOpenBao, startSshAgent } from './agents.mjs'
import { startDaemon } from './daemon.mjs'
import {
  compile,
  compileGo,
  cpuOf,
  freePort,
  home,
  isQuick,
  note,
  ROUNDS,
  start,
  untilAnswers,
  WARM_UP_S,
} from './lib.mjs'
import { nginxBasics } from './proxies.mjs'

export async function measureRequests(samples) {
  const servers = [await ours(), await nginxConstant(), await goConstant(), await openBao()]
  const others = [await startOidcAgent(), await startSshAgent(), await startGitCache()]
  const rows = [
    { id: 'unix', door: 'unix', flags: ['-c', '16'], agents: ['oidc-agent', 'ssh-agent'] },
    { id: 'tcp', door: 'tcp', flags: ['-c', '16'], agents: [] },
    { id: 'each', door: 'unix', flags: ['-c', '16', '-n'], agents: others.map(({ name }) => name) },
  ]
  // A compiler that is still at work is no part of what runs for months.
  for (const { door, flags } of rows) perRequest(servers[0], door, flags, WARM_UP_S / 3)
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const { id, door, flags, agents } of rows) {
      for (const server of servers)
        note(samples, id, server.name, perRequest(server, door, flags, isQuick ? 0.5 : 1))
      for (const agent of others.filter(({ name }) => agents.includes(name)))
        note(samples, id, agent.name, await perAnswer(agent, id === 'each'))
    }
  }
}

/** Microseconds of CPU of a request. */
function perRequest({ pids, doors, path, headers = [] }, door, flags, seconds) {
  const more = door === 'tcp' ? headers.flatMap((header) => ['-H', header]) : []
  const before = cpuOf(...pids)
  const output = execFileSync(
    compile('hload'),
    ['-d', String(seconds), '-w', '0', ...flags, ...more, doors[door], path],
    { encoding: 'utf8' },
  )
  const used = cpuOf(...pids) - before
  const { n, non200, errs } = JSON.parse(output)
  if (!(n > 0) || non200 > 0 || errs > n / 100) throw new Error(`${doors[door]}: ${output}`)
  return used / n
}

/** The same for a protocol of its own. One that closes after each answer is asked on a connection each anyway. */
async function perAnswer(agent, isEach) {
  const count = isQuick ? 300 : 2000
  const before = cpuOf(...agent.pids)
  await askAgain(agent, count, isEach)
  return (cpuOf(...agent.pids) - before) / count
}

async function ours() {
  const { pid, socket, cli } = await startDaemon()
  const token = cli('token', 'create', '--name', 'bench', '--power', 'use')
  const tcp = new URL(cli('status', '--url')).host
  return {
    ...{ name: 'ours', pids: [pid], doors: { unix: `unix:${socket}`, tcp }, path: '/v1/credentials' },
    headers: [`Authorization: Bearer ${token}`],
  }
}

async function nginxConstant() {
  const [port, socket] = [await freePort(), join(home, 'constant.sock')]
  const config = join(home, 'constant.conf')
  writeFileSync(
    config,
    nginxBasics(
      `server { listen unix:${socket}; listen 127.0.0.1:${port}; location / { default_type application/json; return 200 '${'x'.repeat(700)}'; } }`,
    ),
  )
  const { pid } = start('nginx', ['-c', config, '-p', home])
  await untilAnswers(socket)
  return { name: 'nginx constant', pids: [pid], doors: doorsAt(socket, port), path: '/' }
}

async function goConstant() {
  const [port, socket] = [await freePort(), join(home, 'go.sock')]
  const { pid } = start(compileGo('peers'), ['constant', socket, String(port)])
  await untilAnswers(socket)
  return { name: 'Go net/http', pids: [pid], doors: doorsAt(socket, port), path: '/' }
}

async function openBao() {
  const { name, pids, socket, port, path } = await startOpenBao()
  return { name, pids, doors: doorsAt(socket, port), path }
}

const doorsAt = (socket, port) => ({ unix: `unix:${socket}`, tcp: `127.0.0.1:${port}` })
