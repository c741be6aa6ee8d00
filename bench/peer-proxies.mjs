// The peers on Node, as their own pages show them: peer-proxies.mjs DIRECTORY reply-from|http-proxy PORT UPSTREAM CERT KEY.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { Agent } from 'node:https'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const [directory, name, port, upstream, cert, key] = process.argv.slice(2)
const require = createRequire(join(directory, 'node', 'index.js'))
const ca = readFileSync(cert)
const authorization = `Bearer ${key}`

const PROXIES = {
  'reply-from': () => {
    const app = require('fastify')({ bodyLimit: 1e9 })
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', (_request, body, done) => done(null, body))
    app.register(require('@fastify/reply-from'), {
      base: upstream,
      undici: { connections: 128, pipelining: 1, connect: { ca } },
    })
    app.all('/*', (request, reply) =>
      reply.from(request.raw.url, {
        rewriteRequestHeaders: (_request, headers) => ({ ...headers, authorization }),
      }),
    )
    return app.listen({ host: '127.0.0.1', port: Number(port) })
  },
  'http-proxy': () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 128, ca })
    const proxy = require('http-proxy').createProxyServer({
      ...{ target: upstream, agent, changeOrigin: true, ws: true },
      headers: { authorization },
    })
    proxy.on('error', (_error, _request, response) => response.destroy())
    const server = createServer((request, response) => proxy.web(request, response))
    server.on('upgrade', (request, socket, head) => proxy.ws(request, socket, head))
    server.listen(Number(port), '127.0.0.1')
  },
}
await PROXIES[name]()
