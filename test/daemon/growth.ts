/** What a start and its state files cost with many profiles and tokens: counted in writes, never in time. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startDaemon } from '../../src/daemon/daemon.js'
import { openState } from '../../src/daemon/state.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { createTokens } from '../../src/tokens/issue.js'
import { makeRoot } from '../fixtures/broker.js'
import { daemonOptions } from '../fixtures/daemon-options.js'

function profilesText(many: number): string {
  const id = (number: number) => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`
  const tables = Array.from(
    { length: many },
    (_, at) => `[profiles.p${at}]
PREFECT_API_URL = "https://api.prefect.cloud/api/accounts/${id(1)}/workspaces/${id(at)}"
PREFECT_API_KEY = "pnu_${String(at).padStart(36, 'k')}"
`,
  )
  return `active = "p0"\n${tables.join('')}`
}

/** How often the file was written. */
function writesOf(stateDir: string, name: string): number {
  return JSON.parse(readFileSync(join(stateDir, name), 'utf8')).seq
}

t.test(
  'a first start with 200 profiles writes the ledger as often as one with a single profile',
  async (t) => {
    const writes: number[] = []
    for (const many of [1, 200]) {
      const root = await makeRoot(t)
      writeFileSync(join(root, 'profiles.toml'), profilesText(many), { mode: 0o600 })
      const daemon = await startDaemon(daemonOptions(root))
      t.equal(daemon.snapshot().profiles.length, many)
      t.equal(daemon.snapshot().profiles.at(-1)?.generation, 1)
      await daemon.close()
      writes.push(writesOf(join(root, 'state'), 'ledger.json'))
    }
    t.strictSame(writes, [1, 1])
  },
)

t.test('200 notes, and 200 tokens, of one moment are one durable write each', async (t) => {
  const stateDir = join(await makeRoot(t), 'state')
  const { mkdirSync } = await import('node:fs')
  mkdirSync(stateDir, { mode: 0o700 })
  const clock = systemClock()
  const state = await openState({ stateDir, clock, log: silentLog() })
  let made = 0
  const next = () => {
    made += 1
    return String(made).padStart(43, 'x')
  }
  const tokens = createTokens({ document: state.tokens, clock, newId: next, randomToken: next })
  const all = Array.from({ length: 200 }, (_, at) => `p${at}`)
  const durable = await Promise.all(
    all.map((name) =>
      state.ledger.note((ledger) => ({
        ...ledger,
        profiles: { ...ledger.profiles, [name]: { workspaces: [], generation: 1, digest: name } },
      })),
    ),
  )
  t.ok(durable.every((one) => one))
  const given = await Promise.all(
    all.map((name) => tokens.create({ name, power: 'use', profiles: [name], lifeMs: 60_000 })),
  )
  t.strictSame([writesOf(stateDir, 'ledger.json'), writesOf(stateDir, 'tokens.json')], [1, 1])
  const again = await openState({ stateDir, clock, log: silentLog() })
  t.strictSame(Object.keys(again.ledger.read().profiles).sort(), all.sort())
  const restarted = createTokens({ document: again.tokens, clock, newId: next, randomToken: next })
  t.ok(
    given.every(({ token }) => restarted.recognise(token) !== undefined),
    'and all of them are on the disk',
  )
})
