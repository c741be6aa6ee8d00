// From the first caller to the first answer, as systemd starts the daemon: its socket is there, a request waits in it.
import { execFileSync } from 'node:child_process'
import { cpSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { makePlace, oneProfile, startDaemon } from './daemon.mjs'
import { bench, compileGo, env, home, isQuick, note } from './lib.mjs'
import { caddy } from './proxies.mjs'

export async function measureStarts(samples) {
  // It has left its state and its code cache, as the daemon of the day before has.
  const { state } = await startDaemon()
  const bare = join(home, 'bare.mjs')
  writeFileSync(
    bare,
    `import http from 'node:http'\nhttp.createServer((q, r) => r.end('{}')).listen({ fd: 3 })\n`,
  )
  const ours = (name) => {
    const place = makePlace(`starts-${name}`, oneProfile())
    cpSync(state, place.state, { recursive: true, filter: isCopied })
    if (name === 'first') dropCache(place.state)
    const variables = Object.entries(place.env).filter(([key]) => key.startsWith('PREFECT_'))
    const words = variables.map((pair) => pair.join('='))
    return ['env', `HOME=${place.path}`, ...words, '/bin/sh', place.launcher].join(' ')
  }
  const commands = {
    'node:http': `${process.execPath} ${bare}`,
    Caddy: caddy('activated', `http:// {\n bind fd/3\n respond "${'x'.repeat(700)}" 200\n}`).join(' '),
    'Go net/http': `${compileGo('peers')} activated`,
    later: ours('later'),
    first: ours('first'),
  }
  const words = Object.entries(commands).map((pair) => pair.join('='))
  const rounds = isQuick ? 3 : 15
  const output = execFileSync('python3', [join(bench, 'activate.py'), String(rounds), home, ...words], {
    ...{ env, encoding: 'utf8' },
  })
  const { later, first, ...others } = JSON.parse(output)
  for (const [id, own, kind] of [
    ['start', later, 'cpu'],
    ['start-wall', later, 'wall'],
    ['start-first', first, 'cpu'],
  ]) {
    for (const [name, times] of Object.entries({ ours: own, ...others }))
      for (const value of times[kind]) note(samples, id, name, value)
  }
}

/** The sockets by which a daemon keeps others away belong to that one. */
const isCopied = (path) => basename(dirname(path)) !== 'lock'

/** A daemon that is ended as these are leaves no new one. */
function dropCache(state) {
  for (const name of readdirSync(state)) if (name.startsWith('code-cache')) rmSync(join(state, name))
}
