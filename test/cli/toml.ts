/** The small TOML reader of the fast path, against the parser that the daemon uses. */
import fc from 'fast-check'
import { parse, stringify } from 'smol-toml'
import t from 'tap'
import { scanToml } from '../../src/cli/fast/toml.js'

t.test('finds the scalar values of a file by their paths', async (t) => {
  const text = `\ufeff# a comment
profiles_path = "a\\u0020b" # behind a value
list = [1, "]", { a = "b" }, # in a list
  [ 2 ]]
[api]
url = 'http://x#y'
"key" = """
long"""
[ client . "custom_headers" ]
Authorization = "Bearer \\"x\\""
'x.y' = ''
[tool.prefect]
cloud = { api_url = "u", nested = { a = 1 } }
enabled = true
[[array]]
a = 1
`
  t.same(Object.fromEntries(scanToml(text)), {
    profiles_path: 'a b',
    'api.url': 'http://x#y',
    'api.key': 'long',
    'client.custom_headers.Authorization': 'Bearer "x"',
    'client.custom_headers.x.y': '',
    'tool.prefect.cloud.api_url': 'u',
    'tool.prefect.cloud.nested.a': '1',
    'tool.prefect.enabled': 'true',
    'array.a': '1',
  })
})

t.test('ends with any text, and finds what a writer wrote', async (t) => {
  fc.assert(fc.property(fc.string({ maxLength: 200 }), (text) => scanToml(text).size >= 0))
  const pieces = fc.constantFrom(
    '[',
    ']',
    '{',
    '}',
    '=',
    '"',
    "'",
    '"""',
    '\n',
    '#',
    'a',
    '.',
    ',',
    '\\',
    ' ',
  )
  fc.assert(fc.property(fc.array(pieces, { maxLength: 60 }), (parts) => scanToml(parts.join('')).size >= 0))
  const name = fc.stringMatching(/^[a-z_-]{1,8}$/)
  const table = fc.dictionary(name, fc.string({ unit: 'grapheme' }), { maxKeys: 4 })
  fc.assert(
    fc.property(fc.dictionary(name, table, { maxKeys: 4 }), (tables) => {
      const text = stringify(tables)
      parse(text)
      const found = scanToml(text)
      for (const [outer, values] of Object.entries(tables)) {
        for (const [inner, value] of Object.entries(values)) t.equal(found.get(`${outer}.${inner}`), value)
      }
    }),
  )
})
