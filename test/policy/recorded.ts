/** What Prefect's clients were recorded to ask for, each under the policy that is meant for it: the table lets all of it pass. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { POLICIES, ruleOn } from '../../src/policy/policy.js'
import { POLICY_NAMES } from '../../src/wire/kinds.js'

const lines = readFileSync(new URL('fixtures/recorded.txt', import.meta.url), 'utf8')
  .split('\n')
  .filter(Boolean)

t.test('each policy lets pass what the clients that it is meant for asked for', async (t) => {
  for (const line of lines) {
    const [policy, method = '', path = ''] = line.split(' ')
    const may = POLICY_NAMES.find((name) => name === policy)
    if (may === undefined) t.fail(line)
    else t.ok(ruleOn(method, path, { may }).mayPass, line)
  }
})

t.test('the recording has what each policy is there for', async (t) => {
  const wanted = [
    'read POST /flow_runs/filter',
    'run POST /deployments/{id}/create_flow_run',
    'work POST /work_pools/{name}/get_scheduled_flow_runs',
    'work POST /work_queues/{id}/get_runs',
    'work POST /v2/concurrency_limits/leases/{lease_id}/renew',
    'work GET /task_runs/subscriptions/scheduled',
    'work GET /events/in',
    'work POST /logs/',
    'work POST /artifacts/',
    'deploy POST /deployments/',
    'deploy POST /deployments/get_scheduled_flow_runs',
  ]
  for (const line of wanted) t.ok(lines.includes(line), line)
  const recorded = new Set(lines.map((line) => line.split(' ', 1)[0]))
  t.same(
    [...recorded].sort(),
    Object.keys(POLICIES)
      .filter((name) => name !== 'all')
      .sort(),
  )
})
