/** Job variables in which a worker would put what is in a Secret block are refused, however they are written. */
import fc from 'fast-check'
import t from 'tap'
import { refuseTemplates, takesJobVariables } from '../../src/policy/job-variables.js'
import { listOperations } from '../../src/policy/operations.js'

const TEMPLATE = '{{ prefect.blocks.secret.mine }}'
const refuse = (body: string | Buffer, headers = {}) => refuseTemplates(Buffer.from(body), headers)
const under = (value: unknown) => JSON.stringify({ job_variables: value })

const REFUSED: readonly (readonly [what: string, body: string | Buffer, why: RegExp])[] = [
  ['a template', under({ working_dir: TEMPLATE }), /contain a template/],
  ['a template in a text', under({ command: `echo ${TEMPLATE} > /tmp/x` }), /contain a template/],
  [
    'a template without spaces',
    under({ env: { A: '{{prefect.blocks.secret.mine}}' } }),
    /contain a template/,
  ],
  ['a template in a list', under({ a: [[1, { b: ['x', TEMPLATE] }]] }), /contain a template/],
  ['a template as a name', under({ env: { [TEMPLATE]: 'x' } }), /contain a template/],
  ['a template for all of them', under(TEMPLATE), /contain a template/],
  ['their old name', JSON.stringify({ infra_overrides: { a: TEMPLATE } }), /contain a template/],
  ['one run of several', JSON.stringify([{}, { job_variables: { a: TEMPLATE } }]), /contain a template/],
  [
    'escapes',
    '{"job\\u005fvariables":{"a":"\\u007b\\u007B prefect.blocks.secret.mine }}"}}',
    /contain a template/,
  ],
  [
    'half an escape',
    '{"job_variables":{"a":"{\\u007b prefect.blocks.secret.mine }}"}}',
    /contain a template/,
  ],
  ['a line break', under({ a: '{{\nprefect.blocks.secret.mine\n}}' }), /contain a template/],
  ['the last of two', `{"job_variables":{},"job_variables":{"a":"${TEMPLATE}"}}`, /contain a template/],
  ['a name of the language', `{"job_variables":{"__proto__":{"a":"${TEMPLATE}"}}}`, /contain a template/],
  ['a reference', under({ a: { $ref: { block_document_id: 'b' } } }), /refer to a block/],
  ['a reference for all of them', under({ $ref: { block_document_id: 'b' } }), /refer to a block/],
  [
    'a reference, escaped',
    '{"job_variables":{"a":{"\\u0024ref":{"block_document_id":"b"}}}}',
    /refer to a block/,
  ],
  ['what only Python reads', `{"parameters":NaN,"job_variables":{"a":"${TEMPLATE}"}}`, /not JSON/],
  ['UTF-16', Buffer.from(under({ a: TEMPLATE }), 'utf16le'), /not JSON/],
  ['a byte order mark', `\ufeff${under({ a: TEMPLATE })}`, /not JSON/],
  ['a text', `"${TEMPLATE}"`, /not JSON/],
]
for (const [what, body, why] of REFUSED) {
  t.test(`refuses ${what}`, async (t) => {
    t.throws(() => refuse(body), { code: 'bad_request', message: why })
  })
}

t.test('refuses a body that says it is compressed, or in another encoding', async (t) => {
  for (const headers of [
    { 'content-encoding': 'gzip' },
    { 'content-type': 'application/json; charset=utf-7' },
  ]) {
    t.throws(() => refuse('{}', headers), { code: 'bad_request' })
  }
})

t.test('passes job variables without a template, and templates elsewhere', async (t) => {
  const rows = [
    '{}',
    '[]',
    under(null),
    '{"job_variables":{"n":1e400}}',
    under({ env: { A: '{"a":{"b":1}}', B: '}}', C: '{ {' }, n: 1.5, ref: '$ref' }),
    JSON.stringify({ parameters: { text: TEMPLATE, $ref: 'x' }, job_variables: { image: 'x' } }),
    '{"job_variables":{"a":"\\\\u007b\\\\u007b"}}',
  ]
  for (const row of rows) t.doesNotThrow(() => refuse(row), row)
})

t.test('a template is found however deep it is and however it is escaped', async (t) => {
  const escaped = (text: string, flags: readonly boolean[]) =>
    [...text]
      .map((one, at) => (flags[at] === true ? `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}` : one))
      .join('')
  const flags = fc.array(fc.boolean(), { minLength: 40, maxLength: 40 })
  const name = fc.constantFrom('job_variables', 'infra_overrides')
  const steps = fc.array(fc.constantFrom('[', '{'), { maxLength: 40 })
  const property = fc.property(
    flags,
    flags,
    name,
    steps,
    fc.boolean(),
    (some, others, name, steps, isName) => {
      const template = `"${escaped(TEMPLATE, others)}"`
      let value = isName ? `{${template}:1}` : template
      for (const step of steps) value = step === '[' ? `[0,${value}]` : `{"a":{},"b":${value}}`
      const body = `{"parameters":{},"${escaped(name, some)}":${value}}`
      t.same(JSON.parse(body)[name] === undefined, false)
      t.throws(() => refuse(body), { message: /contain a template/ }, body)
    },
  )
  fc.assert(property, { seed: 13, numRuns: 300 })
  const deep = 30_000
  const body = `{"job_variables":${'['.repeat(deep)}"${TEMPLATE}"${']'.repeat(deep)}}`
  t.throws(() => refuse(body), { message: /contain a template/ })
})

t.test('knows operations of the table only', async (t) => {
  const names = listOperations().map(([operation]) => operation)
  t.same(names.filter(takesJobVariables).sort(), [
    'PATCH /deployments/{id}',
    'PATCH /flow_runs/{id}',
    'POST /deployments/',
    'POST /deployments/{id}/create_flow_run',
    'POST /deployments/{id}/create_flow_run/bulk',
    'POST /flow_runs/',
  ])
})
