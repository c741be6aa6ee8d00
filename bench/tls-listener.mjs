// Loaded into the daemon before it starts: a TLS listener beside its TCP listener, in front of the same server. For measuring only.
import { readFileSync } from 'node:fs'
import { Server } from 'node:net'
import { createServer } from 'node:tls'

const { BENCH_TLS_PORT: port, BENCH_TLS_CERT: cert, BENCH_TLS_KEY: key } = process.env
const { listen } = Server.prototype

Server.prototype.listen = function (...args) {
  const [options] = args
  if (options?.host === '127.0.0.1' && options.port !== undefined) {
    const tls = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (socket) =>
      this.emit('connection', socket),
    )
    listen.call(tls, { host: '127.0.0.1', port: Number(port) })
  }
  return listen.apply(this, args)
}
