import t from 'tap'
import {
  PLAIN_BODY_BYTES,
  PLAIN_HEAD_BYTES,
  recognise,
  recogniserState,
} from '../../../src/http/lane/recogniser.js'

const HOST = 'Host: authd\r\n'

function head(line: string, fields = HOST, rest = ''): Buffer {
  return Buffer.from(`${line}\r\n${fields}\r\n${rest}`, 'latin1')
}

t.test('knows a plain request, as Node would', async (t) => {
  const bytes = head(
    'POST /proxy/cloud/api/flows/filter?limit=2&x=%2F HTTP/1.1',
    `hOst: 127.0.0.1:4280\r\nContent-Type: application/json\r\ncontent-length: 2\r\nUser-Agent: a  b (c)\r\n`,
    '{}',
  )
  t.strictSame(recognise(bytes), {
    method: 'POST',
    url: '/proxy/cloud/api/flows/filter?limit=2&x=%2F',
    rawHeaders: [
      'hOst',
      '127.0.0.1:4280',
      'Content-Type',
      'application/json',
      'content-length',
      '2',
      'User-Agent',
      'a  b (c)',
    ],
    headers: {
      'content-length': '2',
      'content-type': 'application/json',
      host: '127.0.0.1:4280',
      'user-agent': 'a  b (c)',
    },
    keepsAlive: true,
    headLength: bytes.length - 2,
    bodyLength: 2,
  })
})

t.test('knows whether the connection goes on', async (t) => {
  const of = (fields: string) => recognise(head('GET /livez HTTP/1.1', HOST + fields))?.keepsAlive
  t.equal(of(''), true)
  t.equal(of('Connection: Keep-Alive\r\n'), true)
  t.equal(of('Connection: close\r\n'), false)
})

t.test('leaves everything else to Node', async (t) => {
  const line = 'GET /livez HTTP/1.1'
  const post = 'POST /x HTTP/1.1'
  const cases: Readonly<Record<string, Buffer>> = {
    nothing: Buffer.alloc(0),
    'half a head': Buffer.from(`${line}\r\n${HOST}`),
    'line ends without CR': Buffer.from(`${line}\n${HOST.replace('\r', '')}\n`),
    'a lone CR in a value': head(line, `${HOST}Accept: a\rb\r\n`),
    'a lone LF in a value': head(line, `${HOST}Accept: a\nHost: b\r\n`),
    'an empty line before it': head(`\r\n${line}`),
    'HTTP/1.0': head('GET /livez HTTP/1.0'),
    'HTTP/1.1 and more': head('GET /livez HTTP/1.11'),
    'two spaces': head('GET  /livez HTTP/1.1'),
    'a method in lower case': head('get /livez HTTP/1.1'),
    HEAD: head('HEAD /livez HTTP/1.1'),
    OPTIONS: head('OPTIONS /livez HTTP/1.1'),
    CONNECT: head('CONNECT authd:80 HTTP/1.1'),
    'a whole URL': head('GET http://authd/livez HTTP/1.1'),
    'no path': head('GET * HTTP/1.1'),
    'a fragment': head('GET /livez#x HTTP/1.1'),
    'a backslash': head('GET /a\\b HTTP/1.1'),
    'a byte above 127': head('GET /\xe9 HTTP/1.1'),
    'a NUL': head('GET /livez HTTP/1.1', `${HOST}Accept: \0\r\n`),
    'no Host': head(line, 'Accept: a\r\n'),
    'two Hosts': head(line, HOST + HOST),
    'a name twice': head(line, `${HOST}Accept: a\r\naccept: b\r\n`),
    'a name that is not in the list': head(line, `${HOST}Cookie: a\r\n`),
    'a name of an object': head(line, `${HOST}__proto__: a\r\n`),
    Origin: head(line, `${HOST}Origin: null\r\n`),
    'Transfer-Encoding': head(post, `${HOST}Transfer-Encoding: chunked\r\n`),
    Expect: head(post, `${HOST}Expect: 100-continue\r\nContent-Length: 1\r\n`, 'x'),
    'an upgrade': head(line, `${HOST}Connection: upgrade\r\n`),
    'a list of connection options': head(line, `${HOST}Connection: close, accept\r\n`),
    'a space before the colon': head(line, `${HOST}Accept : a\r\n`),
    'no space after the colon': head(line, `${HOST}Accept:a\r\n`),
    'two spaces after the colon': head(line, `${HOST}Accept:  a\r\n`),
    'a tab after the colon': head(line, `${HOST}Accept:\ta\r\n`),
    'a space at the end': head(line, `${HOST}Accept: a \r\n`),
    'an empty value': head(line, `${HOST}Accept: \r\n`),
    'a folded line': head(line, `${HOST}Accept: a\r\n b\r\n`),
    'no colon': head(line, `${HOST}Accept\r\n`),
    'a length with a sign': head(post, `${HOST}Content-Length: +1\r\n`, 'x'),
    'a length with a zero before it': head(post, `${HOST}Content-Length: 01\r\n`, 'x'),
    'a list of lengths': head(post, `${HOST}Content-Length: 1, 1\r\n`, 'x'),
    'a length in hex': head(post, `${HOST}Content-Length: 0x1\r\n`, 'x'),
    'a GET with a length': head(line, `${HOST}Content-Length: 0\r\n`),
    'a large body': head(post, `${HOST}Content-Length: ${PLAIN_BODY_BYTES + 1}\r\n`),
    'a large head': head(line, `${HOST}Accept: ${'a'.repeat(PLAIN_HEAD_BYTES)}\r\n`),
  }
  for (const [name, bytes] of Object.entries(cases)) t.equal(recognise(bytes), undefined, name)
})

t.test('is used only with versions of Node that it was compared with', async (t) => {
  t.equal(recogniserState('auto', process.version), 'on', 'the one that these tests run on')
  t.equal(recogniserState('auto', 'v20.19.0'), 'on')
  t.equal(recogniserState('off', 'v20.19.0'), 'off')
  for (const other of ['v2.0.0', 'v26.1.0', 'v200.1.0', '', 'x'])
    t.equal(recogniserState('auto', other), 'not_compared')
})
