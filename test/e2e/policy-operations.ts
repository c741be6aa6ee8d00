/** The table of operations against the routers of the real servers: complete, without stale entries, and matched as they match. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { CLOUD_OPERATIONS } from '../../src/policy/cloud.js'
import { findOperation } from '../../src/policy/matcher.js'
import { listOperations, SERVER_OPERATIONS } from '../../src/policy/operations.js'
import { EFFECTS } from '../../src/wire/kinds.js'
import { findPrefect, runPython, type Which } from '../fixtures/real-prefect.js'

const SCRIPT = fileURLToPath(new URL('./fixtures/policy_routes.py', import.meta.url))
const SERVERS: readonly Which[] = ['2', '34', '36', '3']

type Asked = readonly [method: string, path: string, isSocket: boolean]

/** What the script prints. */
const answerSchema = z.object({
  /** Of the router: also WebSockets, and pages that are not in the OpenAPI document. */
  operations: z.array(z.string()),
  /** Of the OpenAPI document. */
  described: z.array(z.string()),
  /** For each request, `null` if no route takes it. */
  chosen: z.array(z.string().nullable()),
})

const classified = listOperations().map(([operation]) => operation)
const ofServers = EFFECTS.flatMap((effect) => SERVER_OPERATIONS[effect])
const ofCloud = EFFECTS.flatMap((effect) => CLOUD_OPERATIONS[effect])

const unclassified = (table: readonly string[], operations: readonly string[]) =>
  operations.filter((operation) => !table.includes(operation))

const ID = '11111111-2222-3333-4444-555555555555'
const literals = [...new Set(classified.flatMap((operation) => operation.split(/[ /]+/).slice(1)))].filter(
  (part) => part !== '' && !part.startsWith('{'),
)

/** Names that people may choose, and what might be taken for something else. */
const NAMES = [
  ID,
  ID.toUpperCase(),
  ID.replaceAll('-', ''),
  ...[
    'filter',
    'count',
    'name',
    'tag',
    'slug',
    'latest',
    'status',
    'queues',
    'workers',
    'history',
    'paginate',
  ],
  ...[
    '%66ilter',
    'f%69lter',
    'FILTER',
    'filter;x',
    'a%20b',
    'a%3Fb',
    'a%23b',
    '%C3%BCber',
    '50%25',
    'a+b',
    'a:b',
  ],
  ...['a@b', '~x', '-', '_', '...', '{id}', '%7Bid%7D', 'null', 'x'.repeat(300)],
]

const inBraces = /\{[^}]*\}/g

/** An operation with every name in each place for a name, also as a WebSocket. */
function requestsFor(operation: string): readonly Asked[] {
  const [method = '', template = ''] = operation.split(' ')
  const places = template.match(inBraces)?.length ?? 0
  const paths = Array.from({ length: places }, (_, place) =>
    NAMES.map((name) => {
      let at = 0
      return template.replace(inBraces, () => (at++ === place ? name : ID))
    }),
  ).flat()
  return [template.replace(inBraces, ID), ...paths].flatMap((path): readonly Asked[] => [
    [method, path, false],
    ...(method === 'GET' ? [[method, path, true] as const] : []),
  ])
}

/** Paths made of the parts of other paths. */
const mixed = fc.sample(
  fc.tuple(
    fc.constantFrom('GET', 'POST', 'PATCH', 'PUT', 'DELETE'),
    fc.array(fc.constantFrom(...literals, ...literals, ...NAMES), { minLength: 1, maxLength: 6 }),
    fc.boolean(),
  ),
  { numRuns: 2_000, seed: 1 },
)

const requests: readonly Asked[] = [
  ...ofServers.flatMap(requestsFor),
  ...mixed.map(
    ([method, parts, isSlashed]): Asked => [method, `/${parts.join('/')}${isSlashed ? '/' : ''}`, false],
  ),
]

async function answersOf(which: Which, t: Test) {
  const client = findPrefect(which, t)
  if (client === undefined) return undefined
  const home = await mkdtemp(join(tmpdir(), 'policy-routes-'))
  t.teardown(() => rm(home, { recursive: true, force: true }))
  const { stdout, output, code } = await runPython(client, [SCRIPT], {
    home,
    stdin: JSON.stringify(requests),
  })
  if (code !== 0) throw new Error(output)
  return answerSchema.parse(JSON.parse(stdout))
}

t.test('the servers', async (t) => {
  const seen = new Set<string>()
  let servers = 0
  for (const which of SERVERS) {
    const answer = await answersOf(which, t)
    if (answer === undefined) continue
    servers += 1
    for (const operation of answer.operations) seen.add(operation)

    t.test(`every operation of Prefect ${which} is classified`, async (t) => {
      t.ok(answer.described.length > 150, 'the document is read')
      t.same(unclassified(answer.operations, answer.described), [], 'the router has what the document has')
      t.same(unclassified(classified, answer.operations), [])
    })

    t.test(`an operation of Prefect ${which} that is not classified is noticed`, async (t) => {
      const noticed = answer.operations.map((removed) =>
        unclassified(
          classified.filter((operation) => operation !== removed),
          answer.operations,
        ),
      )
      t.same(
        noticed,
        answer.operations.map((removed) => [removed]),
      )
    })

    t.test(`a request is what the router of Prefect ${which} makes of it`, async (t) => {
      const asked = requests.map(([method, path], at) => ({
        method,
        path,
        chosen: answer.chosen[at] ?? undefined,
      }))
      const taken = asked.filter(({ chosen }) => chosen !== undefined)
      t.same(
        taken.filter(({ method, path, chosen }) => findOperation(method, path) !== chosen).slice(0, 20),
        [],
      )
      const taking = new Set(taken.map(({ chosen }) => chosen))
      t.same(
        answer.operations.filter((operation) => !taking.has(operation)),
        [],
        'each operation was asked for',
      )
      t.ok(taken.length > 1_500, `${taken.length} of ${asked.length} were taken`)
    })
  }

  t.test('each entry of the table is an operation of a server, or is marked as of Cloud alone', async (t) => {
    if (servers === SERVERS.length) t.same(unclassified([...seen], ofServers), [])
    else t.pass('not all servers are here', { skip: 'not all servers are here' })
    t.same(
      ofCloud.filter((operation) => seen.has(operation)),
      [],
    )
  })
})
