/** What the table calls a read changes nothing: each is called on seeded real servers, and all tables of their databases are compared. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { z } from 'zod'
import { HANDSHAKE, READS } from '../../src/policy/reads.js'
import { findPrefect, runPython, type Which } from '../fixtures/real-prefect.js'

const SCRIPT = fileURLToPath(new URL('./fixtures/policy_reads.py', import.meta.url))
const SERVERS: readonly Which[] = ['2', '34', '3']

/** They write, each in its own way: the polls of workers, runners and agents look most like reads. */
const WRITES = [
  'POST /variables/',
  'POST /logs/',
  'POST /flow_runs/{id}/set_state',
  'POST /work_pools/{name}/get_scheduled_flow_runs',
  'POST /work_queues/{id}/get_runs',
]

/** What the script prints. */
const provedSchema = z.object({
  /** Answered with 2xx. */
  proved: z.array(z.string()),
  failed: z.record(z.string(), z.string()),
  /** The tables that an operation changed. */
  changed: z.record(z.string(), z.array(z.string())),
  /** The tables that are different a second after the last read. */
  late: z.array(z.string()),
  /** The tables that have rows before the first read. */
  filled: z.array(z.string()),
  /** The tables that one of the writes changed. */
  noticed: z.record(z.string(), z.array(z.string())),
  refused: z.record(z.string(), z.string()),
})

const FILLED = [
  ...['artifact', 'artifact_collection', 'automation', 'block_document', 'block_schema', 'block_type'],
  ...[
    'concurrency_limit_v2',
    'csrf_token',
    'deployment',
    'deployment_schedule',
    'event_resources',
    'events',
    'flow',
  ],
  ...[
    'flow_run',
    'flow_run_input',
    'flow_run_state',
    'log',
    'saved_search',
    'task_run',
    'task_run_state',
    'variable',
  ],
  ...['work_pool', 'work_queue', 'worker'],
]

t.test('the servers', async (t) => {
  const proved = new Set<string>()
  let servers = 0
  for (const which of SERVERS) {
    const client = findPrefect(which, t)
    if (client === undefined) continue
    servers += 1
    const home = await mkdtemp(join(tmpdir(), 'policy-reads-'))
    t.teardown(() => rm(home, { recursive: true, force: true }))
    const stdin = JSON.stringify({ reads: [...READS, HANDSHAKE], writes: WRITES })
    const { stdout, output, code } = await runPython(client, [SCRIPT], { home, stdin, timeout: 300_000 })
    if (code !== 0) throw new Error(output)
    const found = provedSchema.parse(JSON.parse(stdout))
    for (const operation of found.proved) proved.add(operation)

    t.test(`Prefect ${which}: every read is answered and leaves the database as it was`, async (t) => {
      t.same(found.failed, {})
      t.same(found.changed, { [HANDSHAKE]: ['csrf_token'] }, 'but for the client’s own token')
      t.same(found.late, ['csrf_token'], 'also a second later')
      t.ok(found.proved.length > 90, `${found.proved.length} reads`)
      t.same(
        FILLED.filter((table) => !found.filled.includes(table)),
        [],
        'there was something to change',
      )
    })

    t.test(`Prefect ${which}: an operation that writes is noticed`, async (t) => {
      t.same(found.refused, {})
      t.same(Object.keys(found.noticed).sort(), [...WRITES].sort())
    })
  }

  t.test('each read is proved on one of the servers', async (t) => {
    if (servers === SERVERS.length) {
      t.same(
        READS.filter((operation) => !proved.has(operation)),
        [],
      )
    } else t.pass('not all servers are here', { skip: 'not all servers are here' })
  })
})
