// `exec` and `env` as processes, round-robin beside what they can't be faster than, and beside programs of the same kind.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { compile, dist, env, home, ROUNDS, row, socket, startDaemon } from './lib.mjs'
import { startPeers } from './peers.mjs'

const TRUE = '/bin/true'

export async function measureCommands() {
  await startDaemon()
  const auth = join(dist, 'auth.js')
  const curl = `curl -q -s --unix-socket ${socket} http://authd/v1/env?format=sh`
  const times = time({
    curl,
    'sh exec': `${join(dist, 'prefect-auth')} exec -- ${TRUE}`,
    'sh env': `${join(dist, 'prefect-auth')} env`,
    'node -e 0': `${process.execPath} -e 0`,
    'node exec': `${process.execPath} ${auth} exec -- ${TRUE}`,
    'node env': `${process.execPath} ${auth} env`,
  })
  const compare = (ours, theirs, what, goal) =>
    row(
      what,
      times[ours].ms.toFixed(1),
      `${theirs} ${times[theirs].ms.toFixed(1)}`,
      ratio(times, ours, theirs),
      goal,
    )
  compare('sh exec', 'curl', 'prefect-auth exec -- true, ms', '≤ 1.25x')
  compare('sh env', 'curl', 'prefect-auth env, ms', '≤ 1.1x')
  compare('node exec', 'node -e 0', 'the same exec where there is no curl, ms', '≤ 1.45x')
  compare('node env', 'node -e 0', 'the same env where there is no curl, ms', '–')
}

/** Not a race: what people use today, for the same question. */
export async function measurePeers() {
  await startDaemon()
  const peers = await startPeers()
  const ours = `${join(dist, 'prefect-auth')} env`
  const quick = Object.fromEntries(
    peers.filter(({ isSlow }) => !isSlow).map(({ name, command }) => [name, command]),
  )
  const slow = Object.fromEntries(
    peers.filter(({ isSlow }) => isSlow).map(({ name, command }) => [name, command]),
  )
  for (const [some, rounds] of [
    [quick, 40],
    [slow, ROUNDS],
  ]) {
    if (Object.keys(some).length === 0) continue
    const times = time({ ours, ...some }, rounds)
    for (const name of Object.keys(some))
      row(
        'prefect-auth env, ms',
        times.ours.ms.toFixed(1),
        `${name} ${times[name].ms.toFixed(1)}`,
        ratio(times, 'ours', name),
        '–',
      )
  }
}

/** Of the medians of the ratios to one baseline. */
const ratio = (times, ours, theirs) => times[ours].ratio / times[theirs].ratio

function time(commands, rounds = 40) {
  const file = join(home, 'commands.txt')
  const [baseline] = Object.keys(commands)
  writeFileSync(
    file,
    `${Object.entries(commands)
      .map((entry) => entry.join('|'))
      .join('\n')}\n`,
  )
  const input = join(home, 'stdin.txt')
  writeFileSync(input, 'protocol=https\nhost=bench.invalid\n\n')
  const output = execFileSync(compile('rr'), [String(rounds), baseline, file], {
    env: { ...env, RR_STDIN: input, PATH: `${process.env.PATH}` },
    encoding: 'utf8',
  })
  const times = JSON.parse(output)
  for (const [name, { bad }] of Object.entries(times)) {
    if (bad > 0) throw new Error(`${name} failed ${bad} times: ${commands[name]}`)
  }
  return times
}
