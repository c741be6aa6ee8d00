// CPU per proxied request with and without a policy, in pairs: `node bench/policy.mjs` after `npm run build`. Needs what bench/proxy.mjs
// needs, without nginx. One daemon, two tokens, measured in turn; prints the median of the ratios. Goal: at most 3 % more.
import { cleanUp, load, machine, median, ROUNDS, say, WARM_UP_S } from './lib.mjs'
import { postLoad, startOurs, startUpstream } from './proxy-parts.mjs'

const SECONDS = Number(process.env.SECONDS ?? 3)

try {
  const ours = await startOurs(await startUpstream())
  const limited = ['--name', 'limited', '--power', 'proxy', '--may', 'read']
  const free = { ...ours, token: ours.cli('token', 'create', '--name', 'free', '--power', 'proxy') }
  const ruled = { ...ours, token: ours.cli('token', 'create', ...limited) }
  say(`${machine()}, load ${load()} at the start, ${ROUNDS} rounds\n`)
  for (const target of [free, ruled]) postLoad(target, WARM_UP_S / 2)
  const pairs = []
  for (let round = 0; round < ROUNDS; round += 1) {
    // Each goes first every other time.
    const isFreeFirst = round % 2 === 0
    const first = postLoad(isFreeFirst ? free : ruled, SECONDS).cpu
    const second = postLoad(isFreeFirst ? ruled : free, SECONDS).cpu
    pairs.push(isFreeFirst ? [first, second] : [second, first])
  }
  const ratio = median(pairs.map(([without, withPolicy]) => withPolicy / without))
  say('| what | without | with | ratio | goal |\n|---|---|---|---|---|')
  const [without, withPolicy] = [0, 1].map((at) => median(pairs.map((pair) => pair[at])).toFixed(1))
  say(`| CPU per small POST, µs | ${without} | ${withPolicy} | ${ratio.toFixed(3)}x | ≤ 1.03x |`)
  say(`\nload ${load()} at the end`)
} finally {
  await cleanUp()
}
