/** Which requests wait for a yes. */
import t from 'tap'
import { modeOf, needFor } from '../../src/asks/need.js'
import { isMoreThanBookkeeping } from '../../src/policy/changes.js'
import { ruleOn } from '../../src/policy/policy.js'
import { OUTSIDE } from '../../src/policy/table.js'
import { defined } from '../../src/std/defined.js'
import { ASK_MODES, EFFECTS } from '../../src/wire/kinds.js'

const ACCOUNT = '11111111-1111-1111-1111-aaaaaaaaaaaa'
const WAITS: Readonly<Record<(typeof ASK_MODES)[number], readonly string[]>> = {
  write: ['runs', 'deploys', 'administers', 'unknown'],
  all: ['reads', 'runs', 'deploys', 'administers', 'unknown'],
}

for (const mode of ASK_MODES) {
  for (const effect of [...EFFECTS, undefined]) {
    const name = effect ?? 'unknown'
    t.test(`--ask ${mode}: what ${name} ${WAITS[mode].includes(name) ? 'waits' : 'passes'}`, async (t) => {
      for (const method of ['GET', 'POST', 'PATCH', 'DELETE']) {
        const facts = { method, operation: 'POST /x', ...defined({ effect }) }
        t.equal(needFor(mode, facts), WAITS[mode].includes(name) ? 'yes' : 'no', method)
      }
    })
  }
}

t.test('what only looks never waits under write, even if the table does not have it', async (t) => {
  t.equal(needFor('write', { operation: 'X', method: 'HEAD' }), 'no')
  t.equal(needFor('write', { operation: 'X', method: 'OPTIONS' }), 'no')
  t.equal(needFor('write', { operation: 'X', method: 'GET' }), 'yes', 'an unknown GET waits')
})

t.test(
  'what the proxy forwards outside of a workspace is known as a read, and never waits under write',
  async (t) => {
    for (const entry of OUTSIDE) {
      const [method = '', path = ''] = entry.split(' ')
      const { operation, effect } = ruleOn(method, path.replace('{account}', ACCOUNT), undefined)
      t.equal(needFor('write', { method, operation, ...defined({ effect }) }), 'no', entry)
    }
  },
)

t.test("the token's own mode counts before that of a marked profile", async (t) => {
  t.equal(modeOf({}, 'dev', ['prod']), undefined)
  t.equal(modeOf({}, 'prod', ['prod']), 'write')
  t.equal(modeOf({ ask: 'all' }, 'prod', ['prod']), 'all')
  t.equal(modeOf({ ask: 'write' }, 'dev', []), 'write')
})

const REGISTER = 'POST /flow_runs/'
const SET_STATE = 'POST /flow_runs/{id}/set_state'

t.test('a body decides about registering a run and about its state', async (t) => {
  for (const operation of [REGISTER, SET_STATE]) {
    const facts = { method: 'POST', operation, effect: 'works' } as const
    for (const mode of ASK_MODES) t.equal(needFor(mode, facts), 'by body')
    t.ok(isMoreThanBookkeeping(operation, undefined), 'what we cannot read waits')
  }
})

t.test('a run that a worker will start is more than bookkeeping', async (t) => {
  t.notOk(isMoreThanBookkeeping(REGISTER, { flow_id: 'f', parent_task_run_id: 'p', deployment_id: null }))
  for (const name of ['deployment_id', 'work_pool_name', 'work_queue_name', 'work_queue_id']) {
    t.ok(isMoreThanBookkeeping(REGISTER, { flow_id: 'f', [name]: 'x' }), name)
  }
})

const STATES: readonly (readonly [what: string, state: unknown, force: unknown, waits: boolean])[] = [
  ['cancelled by a person', { type: 'CANCELLING', name: 'Cancelling' }, undefined, true],
  ['cancelled by a person, as the client says it', { type: 'CANCELLING' }, false, true],
  ['cancelled in the way of old clients', { type: 'CANCELLED', name: 'Cancelling' }, true, true],
  ['run again by a person', { type: 'SCHEDULED', name: 'Scheduled' }, true, true],
  ['run again, politely', { type: 'SCHEDULED' }, false, true],
  [
    'run again under the name that runners use, by force',
    { type: 'SCHEDULED', name: 'AwaitingRetry' },
    true,
    true,
  ],
  ['the same, in another word for true', { type: 'SCHEDULED', name: 'AwaitingRetry' }, 'on', true],
  ['cancelled by itself', { type: 'CANCELLING', name: 'Cancelling' }, true, false],
  ['cancelled by its runner', { type: 'CANCELLED', name: 'Cancelled' }, true, false],
  ['handed back by its runner', { type: 'SCHEDULED', name: 'AwaitingRetry' }, false, false],
  ['pending', { type: 'PENDING', name: 'Pending' }, false, false],
  ['running', { type: 'RUNNING', name: 'Running' }, false, false],
  ['paused', { type: 'PAUSED', name: 'Suspended' }, false, false],
  ['failed', { type: 'FAILED', name: 'Failed' }, true, false],
  ['crashed', { type: 'CRASHED', name: 'Crashed' }, true, false],
  ['nothing that Prefect takes', 'CANCELLING', true, false],
]
for (const [what, state, force, waits] of STATES) {
  t.test(`a run that is ${what} ${waits ? 'waits' : 'does not wait'}`, async (t) => {
    t.equal(isMoreThanBookkeeping(SET_STATE, { state, ...defined({ force }) }), waits)
  })
}
