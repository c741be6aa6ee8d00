/** `include_secrets` in a request is turned off in place, or the request is refused. */
import fc from 'fast-check'
import t from 'tap'
import { hideInBody, hideInQuery, takesSecretsInBody } from '../../src/policy/secrets.js'

const hide = (text: string) => Buffer.from(hideInBody(Buffer.from(text), {})).toString()

t.test('turns the parameter off and leaves everything else as it was', async (t) => {
  const rows = [
    ['', ''],
    ['?', '?'],
    ['?limit=5&sort=NAME_ASC', '?limit=5&sort=NAME_ASC'],
    ['?include_secrets=true', '?include_secrets=false'],
    ['?include_secrets=True', '?include_secrets=false'],
    ['?include_secrets=on&x=%zz', '?include_secrets=false&x=%zz'],
    ['?include_secrets=0', '?include_secrets=false'],
    ['?include_secrets', '?include_secrets=false'],
    ['?include_secrets=', '?include_secrets=false'],
    ['?include_secrets=1;x', '?include_secrets=false'],
    ['?include_secrets;x=1', '?include_secrets=false'],
    ['?a=%C3%BC&&include%5fsecrets=%74rue&b=+', '?a=%C3%BC&&include%5fsecrets=false&b=+'],
    ['?%69%6e%63lude_secret%73=true', '?%69%6e%63lude_secret%73=false'],
    ['?name=include_secrets', '?name=include_secrets'],
    ['?x=1=include_secrets=true', '?x=1=include_secrets=true'],
  ] as const
  for (const [query, hidden] of rows) t.equal(hideInQuery(query), hidden, query)
})

t.test('refuses a query that can be read in two ways', async (t) => {
  const rows = [
    ['?include_secrets=false&include_secrets=true', /more than once/],
    ['?include_secrets=true&include%5Fsecrets=false', /more than once/],
    ['?a=1;include_secrets=true', /semicolon/],
    ['?a=1;include%5Fsecrets=true', /semicolon/],
    ['?Include_Secrets=true', /misspelled/],
    ['?include_secrets[]=true', /misspelled/],
    ['??include_secrets=true', /misspelled/],
    ['?+include_secrets=true', /misspelled/],
    ['?include+secrets=true', /misspelled/],
    ['?include-secrets=true', /misspelled/],
    ['?includeSecrets=true', /misspelled/],
    ['?include_secrets%00=true', /misspelled/],
    ['?include%255Fsecrets=true', /encoded twice/],
    ['?include%FFsecrets=true', /not UTF-8/],
    ['?include_%zz=true', /not UTF-8/],
  ] as const
  for (const [query, why] of rows) {
    t.throws(() => hideInQuery(query), { code: 'bad_request', message: why }, query)
  }
})

t.test('turns the member off and leaves every other byte', async (t) => {
  const rows = [
    ['{}', '{}'],
    ['{"limit": 5}', '{"limit": 5}'],
    ['{"include_secrets":true}', '{"include_secrets":false}'],
    [
      '{"include_secrets" :\n\ttrue , "limit":5}',
      '{"include_secrets" :\n\ttrue , "limit":5}'.replace('true', 'false'),
    ],
    ['{"include_secrets":false}', '{"include_secrets":false}'],
    ['{"include_secrets":null}', '{"include_secrets":null}'],
    ['{"include\\u005fsecrets":true}', '{"include\\u005fsecrets":false}'],
    [
      '{ "n":1e400,"i":123456789012345678901234567890, "ü":"\\ud83d\\ude00 😀", "include_secrets":true,"x":{"include_secrets":true,"a":[{}]}}',
      '{ "n":1e400,"i":123456789012345678901234567890, "ü":"\\ud83d\\ude00 😀", "include_secrets":false,"x":{"include_secrets":true,"a":[{}]}}',
    ],
    ['{"a":[1,{"b":"}"},[]],"include_secrets":true}', '{"a":[1,{"b":"}"},[]],"include_secrets":false}'],
    ['{"a":"\\"include_secrets\\":true"}', '{"a":"\\"include_secrets\\":true"}'],
    ['{"a":"include_secrets"}', '{"a":"include_secrets"}'],
    ['{"a":{"include_secrets":true}}', '{"a":{"include_secrets":true}}'],
    ['{"a":1.0,"a":-0,"include_secrets":true}', '{"a":1.0,"a":-0,"include_secrets":false}'],
  ] as const
  for (const [body, hidden] of rows) t.equal(hide(body), hidden, body)
})

t.test('refuses a body that can be read in two ways', async (t) => {
  const rows = [
    ['', /not (?:a JSON object|JSON in UTF-8)/],
    ['[]', /not (?:a JSON object|JSON in UTF-8)/],
    ['null', /not (?:a JSON object|JSON in UTF-8)/],
    ['"include_secrets"', /not (?:a JSON object|JSON in UTF-8)/],
    ['include_secrets=true', /not (?:a JSON object|JSON in UTF-8)/],
    ['\ufeff{"include_secrets":true}', /not (?:a JSON object|JSON in UTF-8)/],
    ['{"include_secrets":true,}', /not (?:a JSON object|JSON in UTF-8)/],
    ['{"include_secrets":true}{}', /not (?:a JSON object|JSON in UTF-8)/],
    ['{"x":NaN,"include_secrets":true}', /not (?:a JSON object|JSON in UTF-8)/],
    ['{"x":Infinity,"include_secrets":true}', /not (?:a JSON object|JSON in UTF-8)/],
    ["{'include_secrets':true}", /not (?:a JSON object|JSON in UTF-8)/],
    ['{"include_secrets":"true"}', /neither true nor false/],
    ['{"include_secrets":"false"}', /neither true nor false/],
    ['{"include_secrets":1}', /neither true nor false/],
    ['{"include_secrets":1.0}', /neither true nor false/],
    ['{"include_secrets":[true]}', /neither true nor false/],
    ['{"include_secrets":{"a":true}}', /neither true nor false/],
    ['{"include_secrets":false,"include_secrets":true}', /more than once/],
    ['{"include_secrets":true,"include\\u005Fsecrets":false}', /more than once/],
    ['{"Include_Secrets":true}', /misspelled/],
    ['{"includeSecrets":true}', /misspelled/],
    ['{"include-secrets":true}', /misspelled/],
  ] as const
  for (const [body, why] of rows) t.throws(() => hide(body), { code: 'bad_request', message: why }, body)
})

t.test('refuses a body in another encoding than UTF-8', async (t) => {
  const body = '{"include_secrets":true}'
  const swapped = Buffer.from(body, 'utf16le').swap16()
  const wide = Buffer.from([...body].flatMap((each) => [each.charCodeAt(0), 0, 0, 0]))
  const rows: readonly (readonly [string, Buffer, Readonly<Record<string, string>>])[] = [
    ['UTF-16LE', Buffer.from(body, 'utf16le'), {}],
    ['UTF-16BE', swapped, {}],
    ['UTF-16LE with its mark', Buffer.from(`\ufeff${body}`, 'utf16le'), {}],
    ['UTF-16BE with its mark', Buffer.concat([Buffer.from([0xfe, 0xff]), swapped]), {}],
    ['UTF-32LE', wide, {}],
    ['UTF-32LE with its mark', Buffer.concat([Buffer.from([0xff, 0xfe, 0, 0]), wide]), {}],
    ['UTF-8 with a lone surrogate', Buffer.from([0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d]), {}],
    ['an overlong form', Buffer.from([0x7b, 0x22, 0xc1, 0xa1, 0x22, 0x3a, 0x31, 0x7d]), {}],
    ['gzip', Buffer.from(body), { 'content-encoding': 'gzip' }],
    ['several codings', Buffer.from(body), { 'content-encoding': 'identity, gzip' }],
    [
      'UTF-7',
      Buffer.from('{"include+AF8-secrets":true}'),
      { 'content-type': 'application/json; charset=utf-7' },
    ],
    [
      'a charset said twice',
      Buffer.from(body),
      { 'content-type': 'application/json; charset=utf-7; charset=utf-8' },
    ],
  ]
  for (const [what, bytes, headers] of rows) {
    t.throws(() => hideInBody(bytes, headers), { code: 'bad_request' }, what)
  }
  for (const type of [
    'application/json',
    'application/json; charset=utf-8',
    'application/json;charset="UTF-8"',
  ]) {
    const hidden = hideInBody(Buffer.from(body), { 'content-type': type, 'content-encoding': 'Identity' })
    t.equal(Buffer.from(hidden).toString(), '{"include_secrets":false}', type)
  }
})

t.test('a JSON object of any form comes out with the same bytes but for the one value', async (t) => {
  const spaces = fc.stringMatching(/^[ \t\r\n]{0,3}$/)
  const members = fc.dictionary(
    fc.string({ unit: 'binary' }).filter((name) => !/include.{0,2}secret/iu.test(name)),
    fc.jsonValue({ maxDepth: 3, stringUnit: 'binary' }),
  )
  const property = fc.property(members, members, spaces, fc.boolean(), (before, after, space, asks) => {
    const text = (value: string) => {
      const rest = [before, after].map((each) => JSON.stringify(each, null, space).slice(1, -1).trimEnd())
      const asked = `"include_secrets"${space}:${space}${value}`
      return `{${[rest[0], asked, rest[1]].filter((part) => part !== '').join(`,${space}`)}}${space}`
    }
    t.equal(hide(text(String(asks))), text('false'))
  })
  fc.assert(property, { seed: 13, numRuns: 300 })
})

t.test('a body may be as deep as it likes, but not of any length', async (t) => {
  const deep = (depth: number) => `{"x":${'['.repeat(depth)}${']'.repeat(depth)},"include_secrets":true}`
  t.equal(hide(deep(30_000)), deep(30_000).replace('true', 'false'))
  t.throws(() => hide(deep(40_000)), { code: 'bad_request', message: /too large/ })
})

t.test('bodies are looked at where blocks are asked for', async (t) => {
  t.ok(takesSecretsInBody('/block_documents/filter'))
  t.ok(takesSecretsInBody('/accounts/a/workspaces/w/block_documents/filter'))
  t.ok(takesSecretsInBody('/Block_Documents/filter'))
  t.ok(takesSecretsInBody('/%62lock_documents/filter'))
  t.notOk(takesSecretsInBody('/deployments/some-id/create_flow_run'))
})
