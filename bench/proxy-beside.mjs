// Measures the shipped proxy beside itself in the same run, after `npm run build`: CPU per small POST.
// `node bench/proxy-beside.mjs DIST` beside another build (its `dist/`); `node bench/proxy-beside.mjs tls` beside itself
// behind a TLS listener (tls-listener.mjs). Needs h2load (nghttp2-client), go and openssl, and Linux.
import {
  certificate,
  cleanUp,
  freePort,
  load,
  machine,
  median,
  ROUNDS,
  say,
  secret,
  WARM_UP_S,
} from './lib.mjs'
import { postLoad, startOurs, startUpstream } from './proxy-parts.mjs'

const [beside] = process.argv.slice(2)
if (beside === undefined) throw new Error('beside what? a dist/ directory, or: tls')

/** The daemon twice: over plain TCP, as it is, and over TLS. One process, so that nothing else differs. */
async function overTls(upstream) {
  const port = await freePort()
  const env = {
    BENCH_TLS_PORT: String(port),
    BENCH_TLS_CERT: certificate,
    BENCH_TLS_KEY: secret,
    PREFECT_AUTH_LISTEN_HOSTS: `127.0.0.1:${port}`,
  }
  const flags = ['--import', new URL('tls-listener.mjs', import.meta.url).href]
  const plain = await startOurs(upstream, { name: 'plain', flags, env })
  const tls = {
    ...plain,
    name: 'tls',
    base: plain.base.replace(/^http:\/\/[^/]*/, `https://127.0.0.1:${port}`),
  }
  return [plain, tls]
}

const LOADS = [
  ['16 connections that stay', ['-c', '16']],
  ...(beside === 'tls' ? [['a connection each', ['-c', '16', '-H', 'connection: close']]] : []),
]

try {
  const upstream = await startUpstream()
  const targets =
    beside === 'tls'
      ? await overTls(upstream)
      : [
          await startOurs(upstream, { name: 'before', from: beside }),
          await startOurs(upstream, { name: 'now' }),
        ]
  say(`${machine()}, load ${load()} at the start, ${ROUNDS} rounds\n`)
  for (const target of targets) postLoad(target, WARM_UP_S)
  const [one, other] = targets
  say(
    `| CPU per small POST, µs | ${one.name} | ${other.name} | ratio, median of pairs (least to most) |\n|---|---|---|---|`,
  )
  for (const [title, flags] of LOADS) {
    const pairs = []
    for (let round = 0; round < ROUNDS; round += 1) {
      // Whoever is measured second has a warmer machine: each in turn.
      const order = round % 2 === 0 ? [one, other] : [other, one]
      const seen = new Map(order.map((target) => [target, postLoad(target, 3, flags).cpu]))
      pairs.push([seen.get(one), seen.get(other)])
    }
    const ratios = pairs.map(([a, b]) => b / a).toSorted((a, b) => a - b)
    const [ones, others] = [0, 1].map((at) => median(pairs.map((pair) => pair[at])).toFixed(1))
    say(
      `| ${title} | ${ones} | ${others} | ${median(ratios).toFixed(3)}x (${ratios[0].toFixed(2)} to ${ratios.at(-1).toFixed(2)}) |`,
    )
  }
  say(`\nload ${load()} at the end`)
} finally {
  await cleanUp()
}
