/** Whose yes is heard at all: the owner's on the main socket, and no token's on any listener. */
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { startDaemon } from '../../src/daemon/daemon.js'
import { daemonOptions } from '../fixtures/daemon-options.js'
import { type Answer, ask, logInWithKey } from '../fixtures/daemon-program.js'

const BODY = JSON.stringify({ name: 'mine', value: 1 })

/** One request over TCP. */
function askTcp(port: number, method: string, path: string, text: string, token: string) {
  const headers = { 'content-type': 'application/json', ...(token === '' ? {} : bearer(token)) }
  return new Promise<{ readonly status: number; readonly body: string }>((resolve, reject) => {
    const call = request({ host: '127.0.0.1', port, method, path, headers, agent: false }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
    })
    call.on('error', reject).end(text)
  })
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

t.test('a yes never counts with a token, on any listener', async (t) => {
  const sim = await startCloudSimulator()
  t.teardown(() => sim.close())
  const root = mkdtempSync(join(tmpdir(), 'pab-asks-'))
  const restricted = join(root, 'box', 's')
  const daemon = await startDaemon({
    ...daemonOptions(root, { port: '0', 'listen.restricted_socket': restricted }),
    env: { PREFECT_CLOUD_API_URL: sim.apiUrl, PREFECT_CLOUD_UI_URL: sim.uiUrl },
    // Every yes that gets this far counts.
    judge: () => undefined,
  })
  t.teardown(async () => {
    await daemon.close()
    rmSync(root, { recursive: true, force: true })
  })
  const main = join(root, 'run', 's')
  const owner = (method: string, path: string, body?: unknown) => ask(main, method, path, body)
  t.equal((await logInWithKey({ ask: owner }, sim.issueKey({ name: 'pasted' }))).state, 'stored')
  const issue = async (power: string, more = {}) =>
    String((await owner('POST', '/v1/tokens', { name: power, power, profiles: ['*'], ...more })).body.token)
  const agent = await issue('proxy', { ask: 'write' })
  const tokens = {
    agent,
    ...{ inspect: await issue('inspect'), proxy: await issue('proxy'), use: await issue('use') },
  }
  const { listeners } = daemon.snapshot()
  const tcp = listeners.find(({ door }) => door === 'tcp')?.address ?? ''
  const port = Number(new URL(tcp).port)
  const path = `/proxy/cloud${new URL(sim.workspaceUrl('prefect/terry')).pathname}/variables/`
  const want = () => askTcp(port, 'POST', path, BODY, agent)
  const openIds = async () =>
    [...(await owner('GET', '/v1/asks')).text.matchAll(/"id":(\d+)/g)].map(([, id]) => id)

  t.equal((await want()).status, 503)
  const [id = ''] = await openIds()
  const yes = { accept: true, for: 'once' }
  const outcome = ({ status, body }: Pick<Answer, 'status' | 'body'>) => `${status} ${String(body.code)}`
  for (const [name, token] of Object.entries(tokens)) {
    for (const [door, socket] of [
      ['main', main],
      ['restricted', restricted],
    ] as const) {
      for (const body of [yes, { accept: false }]) {
        const said = await ask(socket, 'POST', `/v1/asks/${id}`, body, bearer(token))
        t.equal(outcome(said), '403 power_missing', `${name} on the ${door} socket`)
      }
      t.equal(outcome(await ask(socket, 'GET', '/v1/asks', undefined, bearer(token))), '403 power_missing')
    }
    const { status, body } = await askTcp(port, 'POST', `/v1/asks/${id}`, JSON.stringify(yes), token)
    t.match([status, body], [403, /"power_missing"/], `${name} over TCP`)
    t.equal((await want()).status, 503, 'the request still waits')
  }
  t.equal(outcome(await ask(restricted, 'POST', `/v1/asks/${id}`, yes)), '401 token_required')
  t.equal((await askTcp(port, 'POST', `/v1/asks/${id}`, JSON.stringify(yes), '')).status, 401)
  t.equal((await want()).status, 503)
  t.strictSame(await openIds(), [id], 'it is the same question')

  t.equal((await owner('POST', `/v1/asks/${id}`, yes)).status, 200)
  t.not((await want()).status, 503, 'it goes on after the yes of the owner')
  t.strictSame(await openIds(), [])
})
