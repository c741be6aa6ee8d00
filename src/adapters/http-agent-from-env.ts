/** The proxy's way out, with the certificates and company proxies that the daemon's environment names. */
import { createHttpAgent, type HttpAgent } from './http-agent.js'
import { resolveProxySettings } from './proxy-route.js'

/** Many jobs go through it, each with a few requests a minute: connections are kept for as long as Prefect keeps them. */
export function openProxyAgent(env: Readonly<Record<string, string | undefined>>): HttpAgent {
  const caFile = env.SSL_CERT_FILE
  return createHttpAgent({
    tls: caFile === undefined || caFile === '' ? {} : { caFile },
    proxy: resolveProxySettings(env),
    connectTimeoutMs: 10_000,
    connections: 128,
    keepAliveMs: 20_000,
  })
}
