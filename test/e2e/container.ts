/**
 * The recipe of docs/containers.md, in Linux namespaces instead of a container.
 *
 * The restricted socket is all it sees of the broker, its token reaches the API of one profile, a real Prefect client works through it, and the token is revoked.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { findPrefect, prefectEnv, startPrefectServer } from '../fixtures/real-prefect.js'
import { type Shipped, startShipped, until } from '../fixtures/shipped.js'

const BOX = fileURLToPath(new URL('../fixtures/box.sh', import.meta.url))
const FORWARD = fileURLToPath(new URL('../../examples/forward.py', import.meta.url))
const FLOW = fileURLToPath(new URL('../fixtures/basic_flow.py', import.meta.url))
const UNSHARE = [...(process.getuid?.() === 0 ? [] : ['--user', '--map-root-user']), '--mount', '--net']

/** A WebSocket that prints what it receives until it is closed. */
const STREAM = `const socket = require("node:net").connect(process.argv[1])
socket.write(["GET /proxy/cloud/api" + process.env.WORKSPACE + "/events/in HTTP/1.1", "Host: authd",
  "Authorization: Bearer " + process.env.PREFECT_API_KEY, "Connection: Upgrade", "Upgrade: websocket",
  "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""].join(String.fromCharCode(13, 10)))
socket.pipe(process.stdout)`

t.setTimeout(880_000)

const canUnshare =
  spawnSync('unshare', [...UNSHARE, 'sh', '-c', 'mount -t tmpfs none /mnt && ip link']).status === 0
if (!canUnshare && process.env.PAB_REQUIRE_REAL === '1') throw new Error('cannot create namespaces here')
const options = canUnshare ? {} : { skip: 'cannot create namespaces here' }

t.test(
  'a container reaches one profile through the restricted socket, until its token is revoked',
  options,
  async (t) => {
    const prefect = findPrefect('3', t)
    if (prefect === undefined) return
    const stage = await setStage(t)
    const { broker, cloud, token, box, seen: at } = stage

    const [key = ''] = /pnu_\w+/.exec((await broker.cli(['env', '--format', 'dotenv'])).stdout) ?? []
    const seen = await box(
      `ls -A '${broker.home}' '${at}'; curl -qs --max-time 2 "$TCP/livez" || echo no tcp
     for path in /v1/credentials /v1/env /v1/status /v1/tokens /proxy/other/api/me/; do
       curl -qs -o /dev/null -w "%{http_code} $path\\n" --unix-socket '${at}/authd.sock' \\
         -H "Authorization: Bearer $PREFECT_API_KEY" "http://authd$path"
     done
     curl -qs -o /dev/null -w '%{http_code} without\\n' --unix-socket '${at}/authd.sock' http://authd/v1/status`,
    )
    t.match(seen, /no tcp\n/, 'it has its own 127.0.0.1')
    t.match(
      seen,
      /403 \/v1\/credentials\n403 \/v1\/env\n403 \/v1\/status\n403 \/v1\/tokens\n403 \/proxy\/other/,
    )
    t.match(seen, /401 without/)
    t.notMatch(seen, /vault|profiles\.toml|run\n/, 'nothing else of the broker is there')

    const ran = await box(
      `'${prefect.python}' '${FORWARD}' '${at}/authd.sock' &
     until curl -qs -o /dev/null http://127.0.0.1/livez; do sleep 0.1; done
     '${prefect.bin}' cloud workspace ls && '${prefect.python}' '${FLOW}'; env; kill $!`,
    )
    t.match(ran, /\* prefect\/terry/)
    t.match(ran, /Completed\(\)/, 'a flow runs in the box')
    t.ok(key.length > 20 && !ran.includes(key) && !seen.includes(key), 'the key is nowhere in the box')

    let said = ''
    let endedAt: number | undefined
    const stream = startBox(stage, `exec '${process.execPath}' -e '${STREAM}' '${at}/authd.sock'`)
    t.teardown(() => stream.kill('SIGKILL'))
    stream.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    stream.on('close', () => {
      endedAt = Date.now()
    })
    await until(
      () => said.includes('101 Switching Protocols'),
      () => `no stream: ${said}`,
    )
    const { stdout } = await broker.cli(['token', 'ls', '--json'])
    const [, id = ''] = /"id": ?"(\w+)"[^{}]*"name": ?"box"/.exec(stdout) ?? []
    const revoked = await broker.cli(['token', 'revoke', id])
    const revokedAt = Date.now()
    t.equal(revoked.code, 0, revoked.stderr)
    await until(
      () => endedAt !== undefined,
      () => 'the stream is still open',
    )
    t.comment(`cut ${(endedAt ?? 0) - revokedAt} ms after its token was taken back`)
    const last = await box(
      `curl -qs -w '%{http_code}' --unix-socket '${at}/authd.sock' -H "Authorization: Bearer $PREFECT_API_KEY" http://authd/proxy/cloud/api/me/`,
    )
    t.match(last, /401$/)
    t.ok(cloud.requests.length > 0 && token.startsWith('pab_'))
  },
)

interface Box {
  readonly broker: Shipped
  readonly env: Readonly<Record<string, string>>
  /** The directory with the restricted socket, outside the box. */
  readonly shared: string
  /** The same directory inside the box. */
  readonly seen: string
}

async function setStage(t: Test) {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) throw new Error('no Prefect')
  const server = await startPrefectServer(t, prefect)
  const cloud = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry'] }],
    workspaceBackend: server.apiUrl,
  })
  t.teardown(() => cloud.close())
  const outside = mkdtempSync(join(tmpdir(), 'pab-box-'))
  t.teardown(() => rmSync(outside, { recursive: true, force: true }))
  const restricted = join(outside, 'container', 'authd.sock')
  const broker = await startShipped(
    t,
    { PREFECT_CLOUD_API_URL: cloud.apiUrl, PREFECT_CLOUD_UI_URL: cloud.uiUrl },
    { PREFECT_AUTH_LISTEN_RESTRICTED_SOCKET: restricted },
  )
  const args = ['login', '--key-stdin', '--exchange', '--workspace', 'prefect/terry']
  const login = await broker.cli(args, { input: cloud.issueKey({ name: 'pasted' }) })
  t.equal(login.code, 0, login.stderr)
  const created = await broker.cli([
    ...['token', 'create', '--name', 'box', '--power', 'proxy', '--profile', 'cloud', '--expires-in', '8h'],
  ])
  const [token = ''] = /pab_[\w-]{43}/.exec(created.stdout) ?? []
  t.match(token, /^pab_/, created.stderr)
  const tcp = (await broker.cli(['status', '--url'])).stdout.trim()
  const workspace = cloud.workspaceUrl('prefect/terry').slice(cloud.apiUrl.length)
  const base = 'http://localhost/proxy/cloud/api'
  const env = {
    ...prefectEnv(outside),
    TCP: tcp,
    WORKSPACE: workspace,
    PREFECT_CLOUD_API_URL: base,
    PREFECT_CLOUD_UI_URL: 'https://app.prefect.cloud',
    PREFECT_API_URL: `${base}${workspace}`,
    PREFECT_API_KEY: token,
  }
  const shared = join(outside, 'container')
  const stage = { broker, cloud, token, env, shared, seen: join(outside, 'seen') }
  return { ...stage, box: (line: string) => runInBox(stage, line) }
}

function startBox({ broker, env, shared, seen }: Box, line: string) {
  const args = [...UNSHARE, 'sh', BOX, broker.home, shared, seen, 'sh', '-c', line]
  return spawn('unshare', args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
}

/** What is said in the box, both ways. */
function runInBox(stage: Box, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = startBox(stage, line)
    let text = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
    }
    child.on('error', reject)
    child.on('close', () => resolve(text))
  })
}
