/** The login page, and delivery without a browser; test/e2e uses a real browser. */

import { readFile } from 'node:fs/promises'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import { get as httpsGet } from 'node:https'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'

interface Received {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A program that waits for a key, and what it received. */
async function openCallback(t: Test): Promise<{ readonly port: number; readonly received: Received[] }> {
  const received: Received[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(Buffer.from(chunk))
    const { method, url, headers } = request
    received.push({ method, url, headers, body: Buffer.concat(chunks).toString() })
    response.writeHead(204).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const address = server.address()
  return { port: typeof address === 'object' && address !== null ? address.port : 0, received }
}

function loginUrl(uiUrl: string, callback: string, more = '&g=true'): string {
  return `${uiUrl}/auth/client?callback=${encodeURIComponent(callback)}${more}`
}

t.test('delivers a browser key by GET or POST, as the URL asks', async (t) => {
  const start = Date.parse('2026-01-01T13:00:00Z')
  const sim = await startCloudSimulator({ clock: { start, frozen: true } })
  t.teardown(() => sim.close())
  const { port, received } = await openCallback(t)
  const callback = `http://localhost:${port}`

  const byGet = await sim.deliver(loginUrl(sim.uiUrl, callback))
  t.equal(byGet.status, 204)
  t.match(received[0], {
    method: 'GET',
    url: `/?key=${byGet.key}`,
    headers: { 'sec-fetch-mode': 'navigate' },
  })
  t.equal(received[0]?.headers.origin, undefined)

  const byPost = await sim.deliver(loginUrl(sim.uiUrl, callback, ''))
  t.match(received[1], {
    method: 'POST',
    url: '/success',
    headers: { origin: sim.uiUrl, 'content-type': 'application/json' },
    body: JSON.stringify({ api_key: byPost.key }),
  })
  await sim.deliver(loginUrl(sim.uiUrl, callback), { cancel: 'no' })
  t.match(received[2], { method: 'POST', url: '/failure', body: '{"reason":"no"}' })

  const issued = sim.keys.find(byGet.key)
  t.match(issued?.name, /^cli-[0-9a-f]{8}-[0-9a-f-]{27}$/)
  t.equal(issued?.expiresAt, Date.parse('2026-01-31T00:00:00Z'), '30 days later, at midnight')
  await t.rejects(sim.deliver('http://127.0.0.1:1/auth/client?callback=http://localhost:2'), /not a login/)
})

t.test('keeps or drops a path in the callback', async (t) => {
  const { port, received } = await openCallback(t)
  for (const { callbackPath, url } of [
    { callbackPath: 'keep', url: /^\/cb\/state\?key=/ },
    { callbackPath: 'drop', url: /^\/\?key=/ },
  ] as const) {
    const sim = await startCloudSimulator({ callbackPath })
    t.teardown(() => sim.close())
    await sim.deliver(loginUrl(sim.uiUrl, `http://localhost:${port}/cb/state`))
    t.match(received.at(-1)?.url, url, callbackPath)
  }
})

t.test('the page contains no key and escapes its parameters', async (t) => {
  const sim = await startCloudSimulator({ separateUi: true })
  t.teardown(() => sim.close())
  t.not(new URL(sim.uiUrl).origin, new URL(sim.apiUrl).origin)
  const answer = await fetch(loginUrl(sim.uiUrl, 'http://localhost:1/</script><script>alert(1)</script>'))
  const page = await answer.text()
  t.match(answer.headers.get('content-type'), /text\/html/)
  t.match(page, /id="authorize"/)
  t.notMatch(page, /pnu_/)
  t.notMatch(page, /alert\(1\)<\/script>/)
  t.equal((await fetch(`${sim.uiUrl}/auth/client?callback=javascript:1`)).status, 400)
  const form = await fetch(`${sim.uiUrl}/auth/client/key`, { method: 'POST', body: 'a=b' })
  t.equal(form.status, 415, 'no key for a form of another site')
  t.equal(sim.keys.all().length, 0)
})

t.test('serves the UI over TLS with a certificate of its own authority', async (t) => {
  const sim = await startCloudSimulator({ tls: 'ui', publicUiUrl: 'https://app.prefect.cloud' })
  t.teardown(() => sim.close())
  t.match(sim.apiUrl, /^http:/)
  const ca = await readFile(sim.caPath ?? '')
  const status = await new Promise((resolve, reject) => {
    httpsGet(
      { host: '127.0.0.1', port: sim.uiPort, servername: 'app.prefect.cloud', path: '/auth/client', ca },
      (response) => resolve(response.resume().statusCode),
    ).on('error', reject)
  })
  t.equal(status, 400, 'reached, and missing its callback')
  const { port, received } = await openCallback(t)
  await sim.deliver(loginUrl('https://app.prefect.cloud', `http://localhost:${port}`, ''))
  t.equal(received[0]?.headers.origin, 'https://app.prefect.cloud')
})
