/** Node's versions: the recogniser is on for those that CI compares it with, and for no other. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { recogniserState } from '../../src/http/lane/recogniser.js'

const ALL = Array.from({ length: 60 }, (_, major) => major)

t.test('recognises requests where CI compares that with Node', async (t) => {
  const run = readFileSync('.ci/run', 'utf8')
  // Each line that runs tests on another Node must run those that compare.
  const others = run.split('\n').flatMap((line) => {
    const [, major] = /PATH="\$dir\/node(\d+)\/bin.* scripts\/test\.mjs/.exec(line) ?? []
    const isAll =
      /--fast$/.test(line) || (line.includes('test/fuzz/recogniser.ts') && / test\/http /.test(line))
    return major !== undefined && isAll ? [Number(major)] : []
  })
  const { engines }: { engines: { node: string } } = JSON.parse(readFileSync('package.json', 'utf8'))
  const own = Number(/(\d+)/.exec(engines.node)?.[1])
  t.same(
    ALL.filter((major) => recogniserState('auto', `v${major}.1.0`) === 'on'),
    [own, ...others].sort(),
  )
  t.same(new Set(ALL.map((major) => recogniserState('off', `v${major}.1.0`))), new Set(['off']))
})
