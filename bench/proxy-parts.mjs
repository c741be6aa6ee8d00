// The parts of the proxy's benchmarks: an upstream over TLS, the shipped daemon in front of it, and a load.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makePlace, startAt } from './daemon.mjs'
import { certificate, compileGo, cpuOf, freePort, home, MB, makeCertificate, secret, start } from './lib.mjs'

export const own = `accounts/${'1'.repeat(8)}-0000-4000-8000-${'1'.repeat(12)}/workspaces/${'2'.repeat(8)}-0000-4000-8000-${'2'.repeat(12)}`
export const key = `pnu_${'x'.repeat(36)}`
export const small = JSON.stringify({
  flow_runs: { id: { any_: [own] } },
  limit: 200,
  sort: 'START_TIME_DESC',
})
const smallFile = join(home, 'small.json')
writeFileSync(smallFile, small)

/** Resolves with its port. */
export async function startUpstream() {
  const port = await freePort()
  makeCertificate()
  const args = [String(port), certificate, secret]
  const server = start(compileGo('upstream'), args, { stdout: 'pipe' })
  await new Promise((resolve) => server.stdout.once('data', resolve))
  return port
}

/** The daemon of `from` (a `dist/`) in front of `upstream`, with `flags` for Node beside the launcher's. */
export async function startOurs(upstream, { name = 'ours', from, flags, env: more } = {}) {
  const profiles = `active = "cloud"\n[profiles.cloud]\nPREFECT_API_URL = "https://127.0.0.1:${upstream}/api/${own}"\nPREFECT_API_KEY = "${key}"\n`
  const cloud = {
    PREFECT_AUTH_PORT: '0',
    SSL_CERT_FILE: certificate,
    PREFECT_CLOUD_API_URL: `https://127.0.0.1:${upstream}/api`,
  }
  const place = makePlace(`proxy-${name}`, profiles, { from, flags, env: { ...cloud, ...more } })
  const { pid } = await startAt(place)
  for (let tries = 0; ; tries += 1) {
    try {
      const origin = place.cli('status', '--url')
      const token = place.cli('token', 'create', '--name', 'bench', '--power', 'proxy')
      return { name, pid, base: `${origin}/proxy/cloud/api/${own}`, token, cli: place.cli }
    } catch (error) {
      if (tries > 50) throw error
      await sleep(100)
    }
  }
}

/** Requests per second with 16 keep-alive connections, and CPU per request. */
export function postLoad({ pid, base, token }, seconds, flags = ['-c', '16']) {
  const before = pid === undefined ? 0 : cpuOf(pid)
  const output = execFileSync(
    'h2load',
    [
      ...['--h1', '-D', String(Math.ceil(seconds)), ...flags, '-t', '1', '-d', smallFile],
      ...['-H', 'content-type: application/json', '-H', `authorization: Bearer ${token}`],
      `${base}/flow_runs/filter`,
    ],
    { encoding: 'utf8', maxBuffer: 256 * MB },
  )
  const [, total, succeeded] = /requests: (\d+) total.*?(\d+) succeeded/.exec(output) ?? []
  const done = Number(succeeded)
  if (!(done > 0) || Number(total) - done > 32) throw new Error(output)
  return { rate: done / seconds, cpu: ((pid === undefined ? 0 : cpuOf(pid)) - before) / done }
}
