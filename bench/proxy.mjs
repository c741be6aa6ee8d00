// Measures the shipped proxy beside nginx's proxy_pass in the same run: `node bench/proxy.mjs` after `npm run build`.
// Needs nginx, h2load (nghttp2-client), go and openssl on the path, and Linux. Prints ratios; absolute times are the machine's.
// Prefect is reached over TLS, as in life: see upstream.go.
import { writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { Agent as TlsAgent, request as tlsRequest } from 'node:https'
import { join } from 'node:path'
import { WebSocket } from 'ws'
import {
  cleanUp,
  cpuOf,
  freePort,
  home,
  key,
  load,
  MB,
  median,
  own,
  postLoad,
  ROUNDS,
  rssOf,
  say,
  sayMachine,
  small,
  start,
  startOurs,
  startUpstream,
  WARM_UP_S,
} from './proxy-parts.mjs'

function nginxConfig(port, upstream) {
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `daemon off; master_process off; pid ${home}/nginx.pid; error_log /dev/null;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000000; client_max_body_size 0;
  ${temp.map((name) => `${name}_temp_path ${home}/${name};`).join(' ')}
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream prefect { server 127.0.0.1:${upstream}; keepalive 128; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass https://prefect; proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;
      proxy_set_header Authorization "Bearer ${key}"; proxy_set_header Host $proxy_host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    }
  }
}\n`
}

const agent = new Agent({ keepAlive: true, maxSockets: 32 })
const tlsAgent = new TlsAgent({ keepAlive: true, maxSockets: 32, rejectUnauthorized: false })

function open(url, options, onAnswer) {
  return url.startsWith('https:')
    ? tlsRequest(url, { agent: tlsAgent, ...options }, onAnswer)
    : request(url, { agent, ...options }, onAnswer)
}

/** One exchange; resolves with how many bytes came. */
function exchange({ base, token }, { path, method = 'POST', body, upload = 0 }) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    if (method === 'POST') headers['content-length'] = upload > 0 ? upload : Buffer.byteLength(body)
    const call = open(`${base}${path}`, { method, headers }, (response) => {
      let bytes = 0
      response.on('data', (chunk) => {
        bytes += chunk.length
      })
      response.on('error', reject)
      response.on('end', () => {
        if (response.statusCode === 200) resolve(bytes)
        else reject(new Error(`${response.statusCode} at ${path}`))
      })
    })
    call.on('error', reject)
    if (upload === 0) return void call.end(body)
    const chunk = Buffer.alloc(65_536, 'x')
    let left = upload
    const more = () => {
      while (left > 0) {
        const part = left < chunk.length ? chunk.subarray(0, left) : chunk
        left -= part.length
        if (!call.write(part) && left > 0) return void call.once('drain', more)
      }
      call.end()
    }
    more()
  })
}

/** Median microseconds of one small POST, one after the other. */
async function oneCaller(target, count) {
  const times = []
  for (let at = 0; at < count; at += 1) {
    const began = performance.now()
    await exchange(target, { path: '/flow_runs/filter', body: small })
    times.push((performance.now() - began) * 1000)
  }
  return median(times)
}

const down = (target, bytes) => exchange(target, { path: `/blob?bytes=${bytes}`, method: 'GET' })
const up = (target, bytes) => exchange(target, { path: '/blob', upload: bytes })

/** CPU microseconds per MB for `count` transfers of 10 MB. */
async function perMegabyte(target, transfer, count) {
  const before = cpuOf(target.pid)
  for (let at = 0; at < count; at += 1) await transfer(target, 10 * MB)
  return (cpuOf(target.pid) - before) / (count * 10)
}

/** How many MB the resident memory rises at most while 1 GB goes through. */
async function growth(target, transfer) {
  await transfer(target, 100 * MB)
  const before = rssOf(target.pid)
  let most = before
  const look = setInterval(() => {
    most = Math.max(most, rssOf(target.pid))
  }, 50)
  await transfer(target, 1000 * MB)
  clearInterval(look)
  return Math.max(most, rssOf(target.pid)) - before
}

/** CPU microseconds per message with 100 sockets, each of which waits for its echo; a message counts once a direction. */
async function perMessage({ pid, base, token }, rounds) {
  const text = JSON.stringify({ type: 'event', event: 'x'.repeat(400) })
  const sockets = await Promise.all(
    Array.from({ length: 100 }, async () => {
      const socket = new WebSocket(`${base.replace('http:', 'ws:')}/events/in`, 'prefect', {
        headers: { authorization: `Bearer ${token}` },
        perMessageDeflate: false,
      })
      await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
      const echoed = new Promise((resolve) => socket.once('message', resolve))
      socket.send(JSON.stringify({ type: 'auth', token }))
      await echoed
      return socket
    }),
  )
  const before = cpuOf(pid)
  await Promise.all(
    sockets.map(async (socket) => {
      for (let at = 0; at < rounds; at += 1) {
        const echoed = new Promise((resolve) => socket.once('message', resolve))
        socket.send(text)
        await echoed
      }
    }),
  )
  const used = cpuOf(pid) - before
  for (const socket of sockets) socket.terminate()
  return used / (100 * rounds * 2)
}

function row(what, ours, theirs, ratio, goal, digits = 1) {
  const shown = ratio === undefined ? '–' : `${ratio.toFixed(2)}x`
  say(`| ${what} | ${ours.toFixed(digits)} | ${theirs.toFixed(digits)} | ${shown} | ${goal} |`)
}

try {
  const upstream = await startUpstream()
  const port = await freePort()
  writeFileSync(join(home, 'nginx.conf'), nginxConfig(port, upstream))
  const nginx = start('nginx', ['-c', join(home, 'nginx.conf'), '-p', home])
  const direct = { name: 'direct', base: `https://127.0.0.1:${upstream}/api/${own}`, token: key }
  const theirs = { name: 'nginx', pid: nginx.pid, base: `http://127.0.0.1:${port}/api/${own}`, token: 'none' }
  const ours = await startOurs(upstream)
  const targets = [theirs, ours]
  sayMachine()
  // A compiler that is still at work is no part of what runs for months.
  for (const target of targets) postLoad(target, WARM_UP_S)

  const seen = new Map()
  const note = (target, what, value) => {
    const name = `${target.name} ${what}`
    seen.set(name, [...(seen.get(name) ?? []), value])
  }
  const of = (target, what) => median(seen.get(`${target.name} ${what}`))
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const target of [direct, ...targets]) note(target, 'alone', await oneCaller(target, 1500))
    for (const target of targets) {
      const { rate, cpu } = postLoad(target, 3)
      note(target, 'rate', rate)
      note(target, 'post', cpu)
    }
    for (const target of targets) {
      note(target, 'down', await perMegabyte(target, down, 20))
      note(target, 'up', await perMegabyte(target, up, 20))
      note(target, 'message', await perMessage(target, 100))
    }
  }
  say('| what | ours | nginx | ratio | goal |\n|---|---|---|---|---|')
  const compare = (what, title, goal, digits) =>
    row(title, of(ours, what), of(theirs, what), of(ours, what) / of(theirs, what), goal, digits)
  compare('post', 'CPU per small POST, µs', '≤ 2.0x')
  compare('rate', 'small POST, 16 connections, requests/s', '≥ 0.6x', 0)
  const added = (target) => of(target, 'alone') - of(direct, 'alone')
  row('added median for one caller, µs', added(ours), added(theirs), added(ours) / added(theirs), '–', 0)
  compare('down', 'CPU per MB, 10 MB down, µs', '≤ 0.8x', 0)
  compare('up', 'CPU per MB, 10 MB up, µs', '≤ 0.8x', 0)
  compare('message', 'CPU per WebSocket message, 100 sockets, µs', '≤ 1.3x')
  for (const [title, transfer] of [
    ['memory growth over 1 GB down, MB', down],
    ['memory growth over 1 GB up, MB', up],
  ]) {
    row(title, await growth(ours, transfer), await growth(theirs, transfer), undefined, '≤ 16')
  }
  say(`\nload ${load()} at the end; direct, one caller: ${of(direct, 'alone').toFixed(0)} µs`)
} finally {
  agent.destroy()
  tlsAgent.destroy()
  await cleanUp()
}
