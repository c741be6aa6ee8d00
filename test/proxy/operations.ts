/** Every operation of Prefect's servers and of Cloud, sent with a job's token: what passes is a reviewed list. */

// The lists of the servers are their own OpenAPI documents, with their WebSockets; Cloud's is made by hand.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { askRaw } from '../fixtures/api-under-test.js'
import { ACCOUNT, OTHER, OWN, startProxy, startUpstream, WORKSPACE } from '../fixtures/proxy-under-test.js'

const fixtures = new URL('../policy/fixtures/', import.meta.url)
const REVIEWED = new URL('allowed.txt', fixtures)
t.setTimeout(180_000)

/** An operation, and the path below the API's base by which it is asked for. */
interface Asked {
  readonly profile: 'cloud' | 'server'
  readonly method: string
  readonly template: string
  readonly path: string
}

const linesOf = (url: URL) =>
  readFileSync(url, 'utf8')
    .split('\n')
    .filter((line) => line !== '')

function readOperations(): readonly Asked[] {
  const servers = readdirSync(fixtures).filter((name) => name.startsWith('server-'))
  const ofServers = new Set(servers.flatMap((name) => linesOf(new URL(name, fixtures))))
  const below = '/accounts/{account}/workspaces/{workspace}'
  const cloud = [
    ...linesOf(new URL('cloud.txt', fixtures)),
    ...Array.from(ofServers, (line) => line.replace(' ', ` ${below}`)),
  ]
  const parse = (profile: Asked['profile']) => (line: string) => {
    const [method = '', template = ''] = line.split(' ')
    return { profile, method, template, path: fill(template) }
  }
  return [...Array.from(ofServers, parse('server')), ...[...new Set(cloud)].map(parse('cloud'))]
}

function fill(template: string): string {
  const values: Readonly<Record<string, string>> = {
    '{account}': ACCOUNT,
    '{workspace}': WORKSPACE,
    '{other}': OTHER,
  }
  return template.replace(/\{[^}]+\}/g, (part) => values[part] ?? 'some-name')
}

t.test('lets pass what the reviewed list has, and nothing else', async (t) => {
  const heard = new Set<string>()
  const { url } = await startUpstream(t, (request, response) => {
    heard.add(`${request.method} ${request.url}`)
    response.end('{}')
  })
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud', 'server'])
  const head = `Host: 127.0.0.1:${proxy.tcp.port}\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`
  const passed: string[] = []
  const operations = readOperations()
  t.ok(operations.length > 400, `${operations.length} operations`)
  for (const { profile, method, template, path } of operations) {
    heard.clear()
    const answer = await askRaw(proxy.tcp, `${method} /proxy/${profile}/api${path} HTTP/1.1\r\n${head}`)
    const isThrough = answer.startsWith('HTTP/1.1 200 ')
    if (isThrough !== heard.has(`${method} /api${path}`)) t.fail(`${method} ${path}: ${answer.slice(0, 30)}`)
    if (!isThrough && !answer.startsWith('HTTP/1.1 403 ')) t.fail(`${method} ${path}: ${answer.slice(0, 30)}`)
    if (isThrough) passed.push(`${profile} ${method} ${template}`)
  }
  if (process.env.PAB_WRITE_REVIEWED === '1') writeFileSync(REVIEWED, `${passed.sort().join('\n')}\n`)
  t.strictSame(passed.sort(), linesOf(REVIEWED))
})

t.test('answers 405 to every other method, and never sends it on', async (t) => {
  const heard: string[] = []
  const { url } = await startUpstream(t, (request, response) => {
    heard.push(request.method ?? '')
    response.end(JSON.stringify(request.headers))
  })
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const send = (method: string, headers = '') =>
    askRaw(
      proxy.tcp,
      `${method} ${proxy.base}/flows HTTP/1.1\r\nHost: 127.0.0.1:${proxy.tcp.port}\r\n` +
        `Authorization: Bearer ${token}\r\n${headers}Connection: close\r\n\r\n`,
    )
  for (const method of ['TRACE', 'PROPFIND', 'PURGE', 'M-SEARCH', 'LINK', 'MKCOL', 'SEARCH', 'REPORT']) {
    t.match(
      await send(method),
      /^HTTP\/1\.1 405 [\s\S]*\r\nallow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n/,
    )
  }
  t.match(await send('CONNECT'), /^HTTP\/1\.1 400 /)
  t.same(heard, [])
  for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) await send(method)
  t.same(heard, ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
  await send(
    'POST',
    'X-HTTP-Method-Override: TRACE\r\nX-Original-URL: /api/users/x/api_keys\r\nCookie: a=b\r\n',
  )
  t.equal(heard.at(-1), 'POST')
})

t.test('says in status what was refused, and forgets none of the last', async (t) => {
  const { url } = await startUpstream(t, (_request, response) => response.end('{}'))
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const send = (method: string, path: string) =>
    askRaw(
      proxy.tcp,
      `${method} /proxy/cloud/api${path} HTTP/1.1\r\nHost: 127.0.0.1:${proxy.tcp.port}\r\n` +
        `Authorization: Bearer ${token}\r\nConnection: close\r\n\r\n`,
    )
  await send('DELETE', OWN)
  await send('TRACE', `${OWN}/flows`)
  await send('DELETE', `${OWN}/`)
  const [line] = proxy.app.proxyTraffic()
  t.match(line, { profile: 'cloud', token: 'proxy token', requests: 0 })
  t.strictSame(line?.refused, [
    { operation: 'DELETE /accounts/{account}/workspaces/{workspace}', count: 2 },
    { operation: 'TRACE /accounts/{account}/workspaces/{workspace}/flows', count: 1 },
  ])
  const letters = 'abcdefghij'
  for (const one of letters) for (const two of letters) await send('POST', `/${one}${two}`)
  const refused = proxy.app.proxyTraffic()[0]?.refused ?? []
  t.equal(refused.length, 50, 'a job that tries everything fills no memory')
  t.equal(refused[0]?.operation, 'POST /jj')
  for (const one of letters) {
    await askRaw(
      proxy.tcp,
      `GET /proxy/${one}/api/x HTTP/1.1\r\nHost: 127.0.0.1:${proxy.tcp.port}\r\n` +
        `Authorization: Bearer ${token}\r\nConnection: close\r\n\r\n`,
    )
  }
  t.equal(proxy.app.proxyTraffic().length, 1, 'nor by naming profiles that it may not use')
})

t.test('reads headers beyond the 2000th', async (t) => {
  const { url } = await startUpstream(t, (_request, response) => response.end('{}'))
  const proxy = await startProxy(t, url)
  const many = 'a:\r\n'.repeat(1_990)
  const head = `GET ${proxy.base}/flows HTTP/1.1\r\nHost: authd\r\n`
  for (const [late, status] of [
    ['Origin: https://evil.example\r\n', 403],
    ['Host: evil.example\r\n', '4..'],
  ] as const) {
    const answer = await askRaw(
      proxy.socket,
      `${head}${many}${'b:\r\n'.repeat(20)}${late}Connection: close\r\n\r\n`,
    )
    t.match(answer, new RegExp(`^HTTP/1\\.1 ${status}`))
  }
})
