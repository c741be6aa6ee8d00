/** Another user takes the daemon's port while it is away: what jobs sent there is parked, never answered 401. */
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ask as askApi } from '../fixtures/api-under-test.js'
import { buildDaemon, type RunningDaemon, startProgram } from '../fixtures/daemon-program.js'
import { freePort, holdPort, OTHER, whyNoOtherUser } from '../fixtures/port-holder.js'

const program = await buildDaemon(t)

/** A job that uses the proxy of a daemon on a fixed port, with a real server behind. */
async function setStage(t: Test) {
  const root = mkdtempSync(join(tmpdir(), 'pab-t-'))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  const server = createServer((_request, response) => response.end('{}'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const port = await freePort()
  writeFileSync(
    join(root, 'profiles.toml'),
    `active = "own"\n[profiles.own]\nPREFECT_API_URL = "http://127.0.0.1:${portOf(server)}/api"\n`,
  )
  const start = async () => {
    const daemon = startProgram(t, { program, root, env: { PREFECT_AUTH_PORT: String(port) } })
    await daemon.up()
    return daemon
  }
  const job = async (token: string) => {
    const headers = { authorization: `Basic ${Buffer.from(`prefect-auth:${token}`).toString('base64')}` }
    return askApi({ port, host: '127.0.0.1' }, '/proxy/own/api/flows/x', { headers })
  }
  return { port, start, job }
}

function portOf(server: ReturnType<typeof createServer>): number {
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

async function tokenOf(daemon: RunningDaemon): Promise<string> {
  const body = { mode: 'proxy', format: 'json', name: 'a worker' }
  const { text } = await daemon.ask('POST', '/v1/env', body)
  return /prefect-auth:(pab_[\w-]{43})/.exec(text)?.[1] ?? ''
}

async function crash(daemon: RunningDaemon): Promise<void> {
  daemon.child.kill('SIGKILL')
  await daemon.ended()
}

function doctorOf(text: string) {
  const { checks } = JSON.parse(text)
  return checks.find(({ name }: { name: string }) => name === 'job tokens')
}

t.test(
  'parks the tokens of jobs if another user was found on the port',
  { skip: whyNoOtherUser() },
  async (t) => {
    const { port, start, job } = await setStage(t)
    const first = await start()
    const token = await tokenOf(first)
    const second = await tokenOf(first)
    t.equal((await job(token)).status, 200)
    await crash(first)
    const release = await holdPort(t, port, OTHER)
    const squatted = await start()
    t.match((await squatted.ask('GET', '/v1/status')).body, {
      listeners: [{}, { door: 'tcp', state: 'failed', problem: /another user/ }],
    })
    t.match(
      await squatted.ask('POST', '/v1/env', { mode: 'proxy', name: 'x' }),
      {
        status: 503,
        body: {},
        text: /tcp_unavailable/,
      },
      'no further job is sent there',
    )
    await release()
    await squatted.stop()

    const back = await start()
    const parked = {
      status: 503,
      headers: { 'retry-after': '5', 'prefect-maintenance': 'true' },
      text: /token_parked/,
    }
    t.match(await job(token), parked, 'waits, though the port is ours again')
    t.match((await back.ask('GET', '/v1/status')).body, { proxy_strangers: undefined }, 'is no stranger')
    t.match(doctorOf((await back.ask('GET', '/v1/doctor')).text), {
      verdict: 'problem',
      remedy: /token keep/,
    })
    t.match((await back.ask('GET', '/v1/status')).body, { notices: [/2 job tokens parked/] })
    t.equal((await job(await tokenOf(back))).status, 200, 'a token made since is not concerned')
    const listed = JSON.parse((await back.ask('GET', '/v1/tokens')).text).tokens
    t.match(listed, [{ parked_at: String }, { parked_at: String }, { parked_at: undefined }])
    t.match(await back.ask('POST', '/v1/tokens/keep', { id: listed[0].id }), {
      status: 200,
      body: { tokens: [{}] },
    })
    t.equal((await job(token)).status, 200, 'goes on')
    t.match(await job(second), parked, 'the other still waits')
    t.match(await back.ask('POST', '/v1/tokens/keep', { id: 'nobody' }), { status: 404 })
    t.match(await back.ask('POST', '/v1/tokens/keep', {}), { status: 400 })
    t.match(await back.ask('POST', '/v1/tokens/keep', { all: true, id: 'x' }), { status: 400 })
    t.match(await back.ask('POST', '/v1/tokens/keep', { all: true }), {
      status: 200,
      body: { tokens: [{ name: 'a worker' }] },
    })
    await crash(back)
    const last = await start()
    t.equal((await job(second)).status, 200, 'kept for good')
    t.match(doctorOf((await last.ask('GET', '/v1/doctor')).text), {
      verdict: 'warning',
      finding: /unexpectedly/,
    })
  },
)

t.test('without that evidence a worker goes on after a crash, and doctor warns', async (t) => {
  const { port, start, job } = await setStage(t)
  const first = await start()
  const token = await tokenOf(first)
  t.match(doctorOf((await first.ask('GET', '/v1/doctor')).text), { verdict: 'ok' })
  await crash(first)
  // Our own user on the port, as a second daemon would be: no evidence against anybody else.
  const release = await holdPort(t, port, process.getuid?.() ?? 0)
  const beside = await start()
  await release()
  t.equal(await beside.stop(), 0)
  const back = await start()
  t.equal((await job(token)).status, 200)
  t.match(doctorOf((await back.ask('GET', '/v1/doctor')).text), { verdict: 'ok' }, 'ended in order since')
  await crash(back)
  t.match(doctorOf((await (await start()).ask('GET', '/v1/doctor')).text), {
    verdict: 'warning',
    remedy: /token ls/,
  })
  t.equal((await job(token)).status, 200)
})
