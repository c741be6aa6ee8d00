// From the first caller to the first answer, as systemd starts the daemon: its socket is there, a request waits in it.
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  bench,
  DAEMON_FLAGS,
  dist,
  env,
  FLAGS,
  home,
  median,
  medianRatio,
  ROUNDS,
  row,
  startDaemon,
} from './lib.mjs'

export async function measureStarts() {
  // It has left its state and its code cache, as the daemon of the day before has.
  await startDaemon()
  const bare = join(home, 'bare.mjs')
  writeFileSync(
    bare,
    `import http from 'node:http'\nhttp.createServer((q, r) => r.end('{}')).listen({ fd: 3 })\n`,
  )
  const place = join(home, 'starts')
  mkdirSync(place, { mode: 0o700 })
  execFileSync('cp', ['-a', join(home, '.prefect'), place])
  execFileSync('sh', [
    '-c',
    `cp -a ${env.PREFECT_AUTH_STATE_DIR} ${place}/warm; cp -a ${place}/warm ${place}/cold`,
  ])
  execFileSync('rm', ['-f', join(place, 'cold', 'code-cache')])
  const ours = (state) =>
    `env PREFECT_AUTH_STATE_DIR=${join(place, state)} ${[process.execPath, ...FLAGS, join(dist, 'authd.js'), ...DAEMON_FLAGS].join(' ')} --port=off`
  const output = execFileSync(
    'python3',
    [
      ...[join(bench, 'activate.py'), String(Math.max(ROUNDS, 9)), place],
      ...[`bare=${process.execPath} ${bare}`, `warm=${ours('warm')}`, `cold=${ours('cold')}`],
    ],
    { env, encoding: 'utf8' },
  )
  const times = JSON.parse(output)
  for (const [name, what] of [
    ['warm', 'activation to first answer'],
    ['cold', 'activation to first answer, the first one of a Node or a version'],
  ]) {
    for (const [kind, said] of [
      ['wall', 'ms'],
      ['cpu', 'ms of CPU'],
    ]) {
      row(
        ...[`${what}, ${said}`, median(times[name][kind]).toFixed(0)],
        `bare node:http ${median(times.bare[kind]).toFixed(0)}`,
        medianRatio(times[name][kind], times.bare[kind]),
        name === 'warm' && kind === 'wall' ? '≤ 2.0x' : '–',
      )
    }
  }
}
