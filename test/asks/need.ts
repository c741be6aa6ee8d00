/** Which requests wait for a yes. */
import t from 'tap'
import { modeOf, needFor, startsElsewhere } from '../../src/asks/need.js'
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
        const facts = { method, operation: 'POST /x', isOutside: false, ...defined({ effect }) }
        t.equal(needFor(mode, facts), WAITS[mode].includes(name) ? 'yes' : 'no', method)
      }
    })
  }
}

t.test('what only looks never waits under write, even if the table does not have it', async (t) => {
  t.equal(needFor('write', { operation: 'X', method: 'HEAD', isOutside: false }), 'no')
  t.equal(needFor('write', { operation: 'X', method: 'OPTIONS', isOutside: false }), 'no')
  t.equal(
    needFor('write', { operation: 'X', method: 'POST', isOutside: true }),
    'no',
    'outside of a workspace',
  )
  t.equal(
    needFor('write', { operation: 'X', method: 'GET', isOutside: false }),
    'yes',
    'an unknown GET waits',
  )
})

t.test("the token's own mode counts before that of a marked profile", async (t) => {
  t.equal(modeOf({}, 'dev', ['prod']), undefined)
  t.equal(modeOf({}, 'prod', ['prod']), 'write')
  t.equal(modeOf({ ask: 'all' }, 'prod', ['prod']), 'all')
  t.equal(modeOf({ ask: 'write' }, 'dev', []), 'write')
})

t.test('a run that a worker will start is more than bookkeeping', async (t) => {
  const facts = { method: 'POST', operation: 'POST /flow_runs/', effect: 'works', isOutside: false } as const
  for (const mode of ASK_MODES) t.equal(needFor(mode, facts), 'by body')
  t.notOk(startsElsewhere({ flow_id: 'f', parent_task_run_id: 'p', deployment_id: null }))
  for (const name of ['deployment_id', 'work_pool_name', 'work_queue_name', 'work_queue_id']) {
    t.ok(startsElsewhere({ flow_id: 'f', [name]: 'x' }), name)
  }
  t.ok(startsElsewhere(undefined), 'what we cannot read')
})
