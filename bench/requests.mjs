// `GET /v1/credentials` beside an nginx constant of the same size, by a C generator: the load must not be the limit.
import { execFileSync } from 'node:child_process'
import { createServer } from 'node:net'
import { join } from 'node:path'
import {
  compile,
  dist,
  env,
  home,
  median,
  medianRatio,
  memory,
  ROUNDS,
  row,
  socket,
  startDaemon,
  startNginx,
} from './lib.mjs'

export async function measureRequests() {
  const { pid } = await startDaemon()
  const port = await freePort()
  await startNginx(port)
  const hload = compile('hload')
  const cli = (...args) =>
    execFileSync(process.execPath, [join(dist, 'auth.js'), ...args], {
      ...{ env, encoding: 'utf8' },
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  const token = cli('token', 'create', '--name', 'bench', '--power', 'use')
  const tcp = new URL(cli('status', '--url')).host
  const load = (target, path, more) =>
    JSON.parse(execFileSync(hload, ['-d', '2', '-w', '0.5', ...more, target, path], { encoding: 'utf8' }))
  const doors = [
    ['unix socket', `unix:${socket}`, `unix:${join(home, 'nginx.sock')}`, []],
    ['TCP', tcp, `127.0.0.1:${port}`, ['-H', `Authorization: Bearer ${token}`]],
    ['unix socket, a connection each', `unix:${socket}`, `unix:${join(home, 'nginx.sock')}`, ['-n']],
  ]
  // A compiler that is still at work is no part of what runs for months.
  load(`unix:${socket}`, '/v1/credentials', ['-d', '5'])
  for (const [name, ours, theirs, more] of doors) {
    const { goal, oneGoal } = GOALS[name]
    compare(`GET /v1/credentials, ${name}, 16 at once, requests/s`, 'rps', goal, ['-c', '16', ...more])
    if (oneGoal !== undefined)
      compare(`the same, one caller, median µs`, 'p50', oneGoal, ['-c', '1', ...more])

    function compare(what, field, wanted, flags) {
      const seen = { ours: [], theirs: [] }
      for (let round = 0; round < ROUNDS; round += 1) {
        seen.ours.push(load(ours, '/v1/credentials', flags)[field])
        seen.theirs.push(load(theirs, '/', flags)[field])
      }
      const ratio = medianRatio(seen.ours, seen.theirs)
      row(
        what,
        median(seen.ours).toFixed(0),
        `nginx constant ${median(seen.theirs).toFixed(0)}`,
        ratio,
        wanted,
      )
    }
  }
  row('memory after the load, MB resident', memory(pid).rss.toFixed(0), '–', undefined, '–')
}

const GOALS = {
  'unix socket': { goal: '≥ 0.35x', oneGoal: '≤ 0.8x' },
  TCP: { goal: '≥ 0.45x', oneGoal: '–' },
  'unix socket, a connection each': { goal: '≥ 0.35x' },
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}
