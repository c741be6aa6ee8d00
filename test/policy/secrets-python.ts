/** Whatever a request says, Prefect's own parsing never finds `include_secrets` set in what we send on. */
import fc from 'fast-check'
import t from 'tap'
import { isBrokerError } from '../../src/base/errors.js'
import { hideInBody, hideInQuery } from '../../src/policy/secrets.js'
import { findPrefect } from '../fixtures/real-prefect.js'
import { type Asked, startPrefectRoutes } from './fixtures/prefect-routes.js'

t.setTimeout(300_000)

/** PAB_SECRETS_SEED repeats a failure, PAB_SECRETS_RUNS makes it longer. */
const seed = Number(process.env.PAB_SECRETS_SEED ?? 13)
const runs = Number(process.env.PAB_SECRETS_RUNS ?? 400)

const ID = '11111111-1111-1111-1111-111111111111'
const SLUG = '/block_types/slug/secret/block_documents'
const ROUTES = [
  'GET /block_documents/{id:uuid}',
  `GET ${SLUG.replace('/secret/', '/{slug}/')}`,
  `GET ${SLUG.replace('/secret/', '/{slug}/')}/name/{block_document_name}`,
  'POST /block_documents/filter',
]

const pick = <T>(...values: readonly T[]) => fc.constantFrom(...values)
const YES = ['true', 'True', 'TRUE', '1', 'yes', 'on', 't', 'y', 'Y', ' true', '1.0']
const NO = ['false', '0', 'off', '', 'null']

/** The name as it is, with parts of it encoded by a scheme, or nearly the name. */
function nameBy(encode: (character: string) => string) {
  const name = [...'include_secrets']
  const flags = fc.array(fc.boolean(), { minLength: name.length, maxLength: name.length })
  const encoded = flags.map((all) => name.map((one, at) => (all[at] === true ? encode(one) : one)).join(''))
  const near = pick(
    'Include_Secrets',
    'include_secrets ',
    'include-secrets',
    'include_secret',
    '_include_secrets',
  )
  return fc.oneof(
    { weight: 4, arbitrary: fc.constant('include_secrets') },
    { weight: 4, arbitrary: encoded },
    { weight: 1, arbitrary: near },
  )
}

const hex = (character: string, width: number) => character.charCodeAt(0).toString(16).padStart(width, '0')
const percent = nameBy((character) => `%${hex(character, 2)}`)
const escaped = nameBy((character) => `\\u${hex(character, 4)}`)

const parameter = fc.oneof(
  fc
    .tuple(
      percent,
      pick('=', '=', '=', '=', '', '==', '%3D'),
      pick(...YES, ...NO, '%74rue', 'tru%65', '+true', 'true;x'),
    )
    .map((all) => all.join('')),
  pick('limit=5', 'x', '', '?x=1', 'x=%zz', 'x=%ff', 'x=%C3%BC', 'x=include_secrets', '%zz=1'),
)
const query = fc
  .tuple(
    parameter,
    fc.array(fc.tuple(pick('&', '&', '&', '&&', ';', '%26', '?'), parameter), { maxLength: 2 }),
  )
  .map(([first, more]) => first + more.flat().join(''))

const value = fc.oneof(
  { weight: 6, arbitrary: pick('true') },
  { weight: 3, arbitrary: pick(...YES.map((text) => JSON.stringify(text)), '1', '1.0', '10e-1') },
  {
    weight: 2,
    arbitrary: pick('false', 'null', '0', '"false"', 'True', 'NaN', '[true]', '{"a":true}', '2', '-0'),
  },
)
const member = fc.oneof(
  {
    weight: 2,
    arbitrary: fc
      .tuple(escaped, pick(':', ' :\n', '\t: '))
      .chain(([name, colon]) => value.map((v) => `"${name}"${colon}${v}`)),
  },
  {
    weight: 1,
    arbitrary: pick(
      '"offset":0',
      '"limit":7',
      '"x":123456789012345678901234567890',
      '"x":NaN',
      '"ü😀":"\\ud800"',
    ),
  },
  {
    weight: 1,
    arbitrary: pick('"block_types":null', '"x":{"include_secrets":true}', '"x":"}"', '"x":["{"]', '"x":-0'),
  },
)
const json = fc
  .tuple(
    pick('', ' ', '\n'),
    fc.array(member, { minLength: 1, maxLength: 3, size: 'small' }),
    pick(',', ', ', '\n,', ' , ', ',,'),
    pick('', '', ' ', '\n', '\t', '{}'),
  )
  .map(([before, members, comma, after]) => `${before}{${members.join(comma)}}${after}`)

const be = (text: string) => Buffer.from(text, 'utf16le').swap16()
const utf32 = (text: string) =>
  Buffer.concat([...text].map((one) => Buffer.from(Uint32Array.of(one.codePointAt(0) ?? 0).buffer)))
const body = fc
  .tuple(
    json,
    fc.oneof(
      { weight: 12, arbitrary: pick((text: string) => Buffer.from(text)) },
      {
        weight: 4,
        arbitrary: pick(
          (text: string) => Buffer.from(`\ufeff${text}`),
          (text: string) => Buffer.from(text, 'utf16le'),
          (text: string) => Buffer.from(`\ufeff${text}`, 'utf16le'),
          be,
          (text: string) => be(`\ufeff${text}`),
          utf32,
          (text: string) => utf32(`\ufeff${text}`),
          (text: string) => Buffer.from(text, 'latin1'),
        ),
      },
    ),
  )
  .map(([text, encode]) => encode(text))

const type = fc.oneof(
  { weight: 5, arbitrary: pick('application/json') },
  {
    weight: 2,
    arbitrary: pick(
      '',
      'application/vnd.api+json',
      'APPLICATION/JSON; charset=utf-16',
      'application/json;charset=UTF-8',
      'text/plain',
      'application/x-www-form-urlencoded',
    ),
  },
)

const asked: fc.Arbitrary<Asked> = fc.oneof(
  fc.record({
    method: fc.constant('GET' as const),
    path: pick(`/block_documents/${ID}`, SLUG, `${SLUG}/name/mine`),
    query,
    headers: fc.constant({}),
    body: fc.constant(Buffer.alloc(0)),
  }),
  fc.record({
    method: fc.constant('POST' as const),
    path: fc.constant('/block_documents/filter'),
    query: pick('', 'include_secrets=true'),
    headers: type.map((text): Record<string, string> => (text === '' ? {} : { 'content-type': text })),
    body,
  }),
)

/** What we send on, or undefined if we refuse it. */
function hidden(request: Asked): Asked | undefined {
  try {
    const now = hideInQuery(`?${request.query}`).slice(1)
    if (request.method === 'GET') return { ...request, query: now }
    return { ...request, query: now, body: Buffer.from(hideInBody(request.body, request.headers)) }
  } catch (error) {
    if (isBrokerError(error, 'bad_request')) return undefined
    throw error
  }
}

for (const which of ['3', '36', '34', '2'] as const) {
  t.test(`Prefect ${which} never reads that secrets are wanted`, { timeout: 280_000 }, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return
    const routes = await startPrefectRoutes(t, prefect)
    t.same(routes.operations, ROUTES, 'no other route of the whole server reads it')
    const counts = { wanted: 0, refused: 0, turnedOff: 0 }
    const wrong: unknown[] = []
    for (const request of fc.sample(asked, { seed, numRuns: runs })) {
      const before = await routes.ask(request)
      const wanted = before.read?.include_secrets === true
      if (wanted) counts.wanted += 1
      const sent = hidden(request)
      if (sent === undefined) {
        counts.refused += 1
        continue
      }
      const after = await routes.ask(sent)
      const shown = { ...request, body: request.body.toString('latin1'), before, after }
      if (after.read?.include_secrets === true) wrong.push({ leaks: shown })
      // The rest of what it asked for is what it gets.
      if (before.read !== undefined && after.read?.others !== before.read.others)
        wrong.push({ changed: shown })
      if (wanted && after.read !== undefined) counts.turnedOff += 1
    }
    t.same(wrong, [])
    t.comment(JSON.stringify(counts))
    t.ok(counts.wanted > runs / 5, 'many of them are answered with secrets if nobody turns it off')
    t.ok(counts.turnedOff > runs / 20, 'many of those pass without')
    t.ok(counts.refused > runs / 12, 'and many are refused')
  })
}
