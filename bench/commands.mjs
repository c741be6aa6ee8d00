// `exec` and `env` as processes, round-robin beside what they cannot be faster than, and beside programs of the same kind.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startGitCache, startOidcAgent, startOpenBao, startSshAgent } from './agents.mjs'
import { startDaemon } from './daemon.mjs'
import { compile, dist, env, home, isQuick, note } from './lib.mjs'

/** By row: which command it is of, what of it is counted, and beside which. */
const COMPARED = [
  ['node-env', 'node env', 'cpu', { 'node -e 0': 'node -e 0' }],
  ['node-exec', 'node exec', 'cpu', { 'node -e 0': 'node -e 0' }],
  ['sh-exec', 'sh exec', 'cpu', { curl: 'curl' }],
  ['sh-exported', 'sh exported', 'cpu', { curl: 'curl', 'exec without it': 'sh exec' }],
]

export async function measureCommands(samples) {
  const { socket, env: own } = await startDaemon()
  const agents = [await startOidcAgent(), await startSshAgent(), await startGitCache(), await startOpenBao()]
  const [front, program] = [join(dist, 'prefect-auth'), join(dist, 'auth.cjs')]
  const times = time(
    { ...own, ...agentVariables() },
    {
      curl: `curl -q -s --unix-socket ${socket} http://authd/v1/env?format=sh`,
      'sh env': `${front} env`,
      'sh exec': `${front} exec -- /bin/true`,
      'sh exported': `env PREFECT_CLOUD_API_URL=https://api.prefect.cloud/api ${front} exec -- /bin/true`,
      'node -e 0': `${process.execPath} -e 0`,
      'node env': `${process.execPath} ${program} env`,
      'node exec': `${process.execPath} ${program} exec -- /bin/true`,
      ...Object.fromEntries(agents.map(({ name, command }) => [name, command])),
    },
  )
  const compare = (id, ours, kind, others) => {
    for (const [name, command] of Object.entries({ ours, ...others }))
      for (const value of times[command][kind]) note(samples, id, name, value)
  }
  for (const row of COMPARED) compare(...row)
  compare('sh-env', 'sh env', 'ms', {
    ...{ curl: 'curl', 'oidc-token': 'oidc-agent', 'ssh-add -l': 'ssh-agent' },
    ...{ 'git credential-cache': 'git credential-cache', 'bao kv get': 'OpenBao agent' },
  })
}

/** How the agents' clients find them. */
const agentVariables = () =>
  Object.fromEntries(['SSH_AUTH_SOCK', 'OIDC_SOCK', 'BAO_ADDR'].map((name) => [name, env[name]]))

/** Every time of each, milliseconds of wall and of CPU. */
function time(variables, commands) {
  const file = join(home, 'commands.txt')
  const lines = Object.entries(commands).map((pair) => pair.join('|'))
  writeFileSync(file, `${lines.join('\n')}\n`)
  const input = join(home, 'stdin.txt')
  writeFileSync(input, 'protocol=https\nhost=bench.invalid\n\n')
  const output = execFileSync(compile('rr'), [String(isQuick ? 5 : 40), Object.keys(commands)[0], file], {
    env: { ...variables, RR_STDIN: input },
    encoding: 'utf8',
  })
  const times = JSON.parse(output)
  for (const [name, { bad }] of Object.entries(times)) {
    if (bad > 0) throw new Error(`${name} failed ${bad} times: ${commands[name]}`)
  }
  return Object.fromEntries(Object.entries(times).map(([name, { all }]) => [name, all]))
}
