/** Which requests wait for a yes. */
import t from 'tap'
import { modeOf, mustAsk } from '../../src/asks/need.js'
import { defined } from '../../src/std/defined.js'
import { ASK_MODES, EFFECTS } from '../../src/wire/kinds.js'

const WAITS: Readonly<Record<(typeof ASK_MODES)[number], readonly string[]>> = {
  write: ['runs', 'deploys', 'administers', 'unknown'],
  all: ['reads', 'runs', 'deploys', 'administers', 'unknown'],
}

for (const mode of ASK_MODES) {
  for (const effect of [...EFFECTS, undefined]) {
    const name = effect ?? 'unknown'
    t.test(`--ask ${mode}: what ${name} ${WAITS[mode].includes(name) ? 'waits' : 'passes'}`, async (t) => {
      for (const method of ['GET', 'POST', 'PATCH', 'DELETE']) {
        const facts = { method, isOutside: false, ...defined({ effect }) }
        t.equal(mustAsk(mode, facts), WAITS[mode].includes(name), method)
      }
    })
  }
}

t.test('what only looks never waits under write, even if the table does not have it', async (t) => {
  t.notOk(mustAsk('write', { method: 'HEAD', isOutside: false }))
  t.notOk(mustAsk('write', { method: 'OPTIONS', isOutside: false }))
  t.notOk(mustAsk('write', { method: 'POST', isOutside: true }), 'outside of a workspace')
  t.ok(mustAsk('write', { method: 'GET', isOutside: false }), 'an unknown GET waits')
})

t.test("the token's own mode counts before that of a marked profile", async (t) => {
  t.equal(modeOf({}, 'dev', ['prod']), undefined)
  t.equal(modeOf({}, 'prod', ['prod']), 'write')
  t.equal(modeOf({ ask: 'all' }, 'prod', ['prod']), 'all')
  t.equal(modeOf({ ask: 'write' }, 'dev', []), 'write')
})
