/** Questions as sentences. */
import t from 'tap'
import { namesIn, type Spoken, sentenceOf } from '../../src/asks/sentence.js'

const ID = '0e0b8a53-8d7a-4b9e-9a57-2f0d7a1f0001'
const FLOW = '0e0b8a53-8d7a-4b9e-9a57-2f0d7a1f0002'
const NAMES: Readonly<Record<string, string>> = {
  [`deployments ${ID}`]: 'Testing/nightly',
  [`flows ${FLOW}`]: 'Testing',
  [`flow_runs ${ID}`]: 'brave-crab',
  [`automations ${ID}`]: "'on failure'",
}

function spoken(operation: string, path: string, body: NonNullable<Spoken['body']> = {}): Spoken {
  return { operation, method: operation.split(' ')[0] ?? '', path, body, place: 'prefect/production' }
}

const say = (one: Spoken) => sentenceOf(one, (noun, id) => NAMES[`${noun} ${id}`])

const CASES: readonly (readonly [
  operation: string,
  path: string,
  body: NonNullable<Spoken['body']>,
  sentence: string,
])[] = [
  [
    'POST /deployments/{id}/create_flow_run',
    `/deployments/${ID}/create_flow_run`,
    {},
    'start deployment Testing/nightly',
  ],
  [
    'POST /deployments/',
    '/deployments/',
    { name: 'n', flow_id: FLOW },
    'create or change deployment Testing/n',
  ],
  ['DELETE /flows/{id}', `/flows/${FLOW}`, {}, 'delete flow Testing'],
  ['PATCH /automations/{id}', `/automations/${ID}`, {}, "pause or resume automation 'on failure'"],
  ['PATCH /variables/name/{name}', '/variables/name/my%20var', { value: 1 }, "set variable 'my var'"],
  ['POST /variables/', '/variables', { name: 'v', value: 's3cret' }, 'create variable v'],
  [
    'POST /flow_runs/{id}/set_state',
    `/flow_runs/${ID}/set_state`,
    { state: { type: 'CANCELLING' } },
    'cancel flow run brave-crab',
  ],
  [
    'POST /flow_runs/{id}/set_state',
    `/flow_runs/${ID}/set_state`,
    { state: { type: 'SCHEDULED', name: 'Again' } },
    'set flow run brave-crab to Again',
  ],
  ['DELETE /work_pools/{name}', '/work_pools/p', {}, 'delete work pool p'],
  ['DELETE /deployments/{id}', `/deployments/${FLOW}`, {}, `delete deployment ${FLOW}`],
  ['POST /x/{id}', `/x/${ID}`, {}, `POST /x/${ID}`],
  ['POST /flow_runs/{id}/set_state', '/flow_runs', {}, "set flow run '' to ''"],
]

for (const [operation, path, body, sentence] of CASES) {
  t.test(`${operation} ${path}`, async (t) => {
    t.equal(say(spoken(operation, path, body)), `${sentence} in prefect/production`)
  })
}

t.test('the names that parameters have in the table change nothing', async (t) => {
  const path = `/deployments/${ID}/create_flow_run`
  t.equal(
    say(spoken('POST /deployments/{deployment_id}/create_flow_run', path)),
    say(spoken('POST /deployments/{id}/create_flow_run', path)),
  )
})

t.test('no name can pass for a part of the sentence', async (t) => {
  const names = [
    'x in prefect/staging',
    "x' in prefect/staging",
    'x\u202eno\u0000itcudorp',
    '\u001b[2Kx',
    'x\nyes',
    'x'.repeat(5_000),
    ' ',
  ]
  for (const name of names) {
    const sentence = say(spoken('POST /variables/', '/variables/', { name }))
    t.match(
      sentence,
      /^create variable '[^'\p{Cc}\p{Cf}]{0,80}' in prefect\/production$|^create variable x*… in/u,
    )
  }
})

t.test('names are looked up by the ids of the request, and by nothing that is no id', async (t) => {
  t.same(namesIn(spoken('POST /deployments/', '/deployments/', { name: 'n', flow_id: FLOW })), [
    ['flows', FLOW],
  ])
  t.same(namesIn(spoken('DELETE /deployments/{id}', `/deployments/${ID}`)), [['deployments', ID]])
  for (const id of ['..', '../flows', `${ID}?x`, '', 'a'.repeat(36)]) {
    t.same(namesIn(spoken('POST /deployments/', '/deployments/', { name: 'n', flow_id: id })), [], id)
  }
})

t.test('a body that is no JSON object is no secret', async (t) => {
  const { body: _, ...rest } = spoken('POST /variables/', '/variables/')
  t.equal(say(rest), "create variable '' in prefect/production, with a body that is no JSON object")
})
