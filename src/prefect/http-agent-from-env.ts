/** The proxy's way out, with the certificates and company proxies that the daemon's environment names. */
import { createHttpAgent, type Way } from './agent.js'
import { resolveProxySettings } from './way-out.js'

export interface ProxyAgent {
  /** The way to an origin. Rejects with `setting_invalid`. */
  dispatcherFor(origin: string): Promise<Way>
  /** Cuts every connection. */
  close(): Promise<void>
}

/** Many jobs go through it, each with a few requests a minute: connections are kept for as long as Prefect keeps them. */
export function openProxyAgent(env: Readonly<Record<string, string | undefined>>): ProxyAgent {
  const caFile = env.SSL_CERT_FILE
  const agent = createHttpAgent({
    tls: caFile === undefined || caFile === '' ? {} : { caFile },
    proxy: resolveProxySettings(env),
    connectTimeoutMs: 10_000,
    connections: 128,
    keepAliveMs: 20_000,
  })
  // Found once per origin, not at every request: there are as many as there are profiles.
  const ways = new Map<string, Way>()
  return {
    async dispatcherFor(origin) {
      const way = ways.get(origin) ?? (await agent.dispatcherFor(new URL(origin)))
      ways.set(origin, way)
      return way
    },
    close: agent.close,
  }
}
