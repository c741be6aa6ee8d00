// The proxies that ours is measured beside, each in front of the same upstream and adding the same key.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bench, certificate, compileGo, freePort, home, peersDir, start, untilAnswers } from './lib.mjs'
import { key, own } from './proxy-parts.mjs'

/** As a target of a load: `{ name, pid, base, token }`, named as in rows.mjs. */
export async function startProxies(upstream) {
  const targets = []
  for (const [name, command] of Object.entries(PROXIES)) {
    const port = await freePort()
    const [program, ...args] = command(port, upstream)
    const { pid } = start(program, args)
    await untilAnswers(`http://127.0.0.1:${port}`)
    targets.push({ name, pid, base: `http://127.0.0.1:${port}/api/${own}`, token: 'none' })
  }
  return targets
}

const PROXIES = {
  nginx: (port, upstream) => ['nginx', '-c', write('nginx.conf', nginxConfig(port, upstream)), '-p', home],
  HAProxy: (port, upstream) => [
    'haproxy',
    '-q',
    '-db',
    '-f',
    write('haproxy.cfg', haproxyConfig(port, upstream)),
  ],
  'Go ReverseProxy': (port, upstream) => [
    ...[compileGo('peers'), 'proxy', String(port), `https://127.0.0.1:${upstream}`, certificate, key],
  ],
  Caddy: (port, upstream) => caddy('proxy', caddyProxy(port, upstream)),
  'reply-from': (port, upstream) => onNode('reply-from', port, upstream),
  'http-proxy': (port, upstream) => onNode('http-proxy', port, upstream),
}

function write(name, text) {
  writeFileSync(join(home, name), text, { mode: 0o600 })
  return join(home, name)
}

/** A command that runs Caddy with this site. */
export function caddy(name, site) {
  const text = `{\n admin off\n auto_https off\n persist_config off\n log {\n output discard\n }\n}\n${site}\n`
  const config = write(`caddy-${name}`, text)
  return [join(peersDir, 'python', 'bin', 'caddy'), 'run', '--adapter', 'caddyfile', '--config', config]
}

const caddyProxy = (port, upstream) => `http://:${port} {
 bind 127.0.0.1
 reverse_proxy https://127.0.0.1:${upstream} {
  header_up Authorization "Bearer ${key}"
  header_up Host {upstream_hostport}
  transport http {
   tls_trust_pool file ${certificate}
   versions 1.1
   keepalive_idle_conns_per_host 128
  }
 }
}`

const onNode = (name, port, upstream) => [
  ...[process.execPath, join(bench, 'peer-proxies.mjs'), peersDir, name, String(port)],
  ...[`https://127.0.0.1:${upstream}`, certificate, key],
]

/** One process of one thread, as ours. */
const haproxyConfig = (port, upstream) => `global
 nbthread 1
 maxconn 4096
defaults
 mode http
 timeout connect 5s
 timeout client 60s
 timeout server 60s
 timeout tunnel 1h
frontend in
 bind 127.0.0.1:${port}
 default_backend out
backend out
 http-reuse always
 http-request set-header Authorization "Bearer ${key}"
 http-request set-header Host 127.0.0.1:${upstream}
 server prefect 127.0.0.1:${upstream} ssl verify required ca-file ${certificate}
`

/** What nginx needs before it does anything, for any use of it here. */
export const nginxBasics = (http) => {
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `daemon off; master_process off; pid ${home}/nginx.pid; error_log /dev/null;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; client_max_body_size 0;
  ${temp.map((name) => `${name}_temp_path ${home}/${name};`).join(' ')}
  ${http}
}\n`
}

const nginxConfig = (port, upstream) =>
  nginxBasics(`map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream prefect { server 127.0.0.1:${upstream}; keepalive 128; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass https://prefect; proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;
      proxy_set_header Authorization "Bearer ${key}"; proxy_set_header Host $proxy_host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    }
  }`)
