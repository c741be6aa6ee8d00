/** What a server receives from Prefect's own clients under `exec`, whatever stands around: bytes, not settings read back. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { findPrefect, prefectEnv, type Which } from '../fixtures/real-prefect.js'
import { startShipped } from '../fixtures/shipped.js'

t.setTimeout(900_000)

const PROBE = `
import asyncio
from prefect.client.orchestration import get_client
async def main():
    async with get_client() as client:
        await client._client.get("/probe")
asyncio.run(main())
`

/** A server that keeps the headers of the requests for `/api/probe`. */
async function startCapture(t: Test) {
  const seen: IncomingHttpHeaders[] = []
  const server = createServer((request, response) => {
    if (request.url === '/api/probe') seen.push(request.headers)
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const address = server.address()
  return { seen, url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/api` }
}

for (const which of ['3', '2'] satisfies Which[]) {
  t.test(`Prefect ${which} sends what the profile has, and nothing of other sources`, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return
    const { seen, url } = await startCapture(t)
    const home = mkdtempSync(join(tmpdir(), 'pab-pair-'))
    t.teardown(() => rmSync(home, { recursive: true, force: true }))
    mkdirSync(join(home, '.prefect'))
    const headers = which === '2' ? '' : `PREFECT_CLIENT_CUSTOM_HEADERS = '{"x-of": "a"}'\n`
    writeFileSync(
      join(home, '.prefect', 'profiles.toml'),
      `active = "a"\n[profiles.a]\nPREFECT_API_URL = "${url}/of-a"\nPREFECT_API_KEY = "pnu_of_a"\n${headers}[profiles.b]\nPREFECT_API_URL = "${url}"\n`,
    )
    writeFileSync(join(home, '.env'), 'PREFECT_API_KEY=pnu_dotenv\nPREFECT_API_AUTH_STRING=u:dotenv\n')
    writeFileSync(join(home, 'prefect.toml'), '[api]\nkey = "pnu_toml"\nauth_string = "u:toml"\n')
    writeFileSync(join(home, 'probe.py'), PROBE)
    const broker = await startShipped(t, { ...prefectEnv(home), PREFECT_HOME: '' })
    for (const way of [[], ['--proxy']]) {
      const ran = await broker.cli(['exec', ...way, '-p', 'b', '--', prefect.python, 'probe.py'], {
        cwd: home,
        env: {
          prefect_api_key: 'pnu_small',
          Prefect_Api_Key: 'pnu_mixed',
          PREFECT_API: '{"key": "pnu_group"}',
        },
      })
      t.equal(ran.code, 0, ran.stderr)
      t.match(ran.stderr, /^prefect-auth: \.env in this directory sets PREFECT_API_KEY/m)
      const got = seen.pop()
      t.match(got, { host: /./ }, `reached ${way.join('')}`)
      t.strictSame([got?.authorization, got?.['x-of']], [undefined, undefined], way.join(''))
    }
  })

  t.test(`Prefect ${which} starts no server of its own without a login`, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return
    const home = mkdtempSync(join(tmpdir(), 'pab-pair-'))
    t.teardown(() => rmSync(home, { recursive: true, force: true }))
    const broker = await startShipped(t, { ...prefectEnv(home), PREFECT_HOME: '' })
    const flow = join(home, 'flow.py')
    writeFileSync(flow, 'from prefect import flow\n@flow\ndef one(): print("ran")\none()\n')
    const ran = await broker.cli(['exec', '--', prefect.python, flow], { cwd: home })
    t.match(ran, { code: 125, stdout: '', stderr: /login_required\)\ntry: prefect-auth login\n/ })
  })
}
