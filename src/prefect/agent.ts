/** Connections to Prefect Cloud: which certificates are trusted, and which proxy stands between. */

import { readFile } from 'node:fs/promises'
import type { Agent, Dispatcher, ProxyAgent } from 'undici'
import { BrokerError } from '../base/errors.js'
import { defined } from '../std/defined.js'
import { type ProxySettings, planProxyRoute, resolveProxySettings } from './way-out.js'

export interface TlsSettings {
  /** `SSL_CERT_FILE`: PEM certificates, trusted in place of Node's own list, as httpx does. */
  readonly caFile?: string
}

/** What requests to an origin are dispatched by. */
type Way = Dispatcher

export interface HttpAgent {
  /** The way to `url`'s host, kept alive between requests. Rejects with `setting_invalid`. */
  dispatcherFor(url: URL): Promise<Way>
  /** Forgets every connection, so that the next request reads the certificates again. What is under way finishes. */
  forget(): void
  /** Cuts every connection. */
  close(): Promise<void>
}

const SHARED = {
  pipelining: 1,
  // Prefect's load balancer closes idle connections after 30 s: ours are gone before.
  keepAliveMaxTimeout: 20_000,
}

export function createHttpAgent({
  tls,
  proxy,
  connectTimeoutMs,
  connections = 8,
  keepAliveMs = 4_000,
}: {
  readonly tls: TlsSettings
  readonly proxy: ProxySettings
  readonly connectTimeoutMs: number
  /** To one origin at once. */
  readonly connections?: number
  /** How long an idle connection is kept. */
  readonly keepAliveMs?: number
}): HttpAgent {
  const shared = { ...SHARED, connections, keepAliveTimeout: keepAliveMs }
  const ways = new Map<string, Promise<Way>>()

  const open = async (via: URL | undefined): Promise<Way> => {
    const ca = tls.caFile === undefined ? undefined : await readCertificates(tls.caFile)
    const connect = {
      timeout: connectTimeoutMs,
      // Node's 250 ms for an address before it tries the next is too short for a slow link (nodejs/node#54359).
      autoSelectFamilyAttemptTimeout: 1_000,
      ...defined({ ca }),
    }
    // A third of our code, and all of TLS: a start, and a daemon that only hands out credentials, go without.
    const undici = await import('undici')
    return via === undefined
      ? new undici.Agent({ ...shared, connect })
      : openProxy(undici.ProxyAgent, via, connect, shared)
  }

  return {
    async dispatcherFor(url) {
      const route = planProxyRoute(url, proxy)
      if (route.kind === 'unusable') {
        throw new BrokerError('setting_invalid', `the proxy can't be used: ${route.problem}`, {
          hint: 'correct or unset HTTPS_PROXY and ALL_PROXY, or add the host to NO_PROXY, and restart prefect-authd',
        })
      }
      const via = route.kind === 'proxy' ? route.proxy : undefined
      const name = via?.href ?? 'direct'
      const known = ways.get(name)
      if (known) return known
      const way = open(via)
      ways.set(name, way)
      way.catch(() => ways.delete(name))
      return way
    },
    forget() {
      for (const way of ways.values()) way.then((dispatcher) => dispatcher.close()).catch(() => undefined)
      ways.clear()
    },
    async close() {
      const open = [...ways.values()]
      ways.clear()
      await Promise.allSettled(open.map(async (way) => (await way).destroy()))
    },
  }
}

interface ConnectOptions {
  readonly timeout: number
  readonly ca?: string
}

function openProxy(
  ProxyWay: typeof ProxyAgent,
  proxy: URL,
  connect: ConnectOptions,
  shared: Agent.Options,
): Dispatcher {
  const { username, password } = proxy
  const login = `${percentDecode(username)}:${percentDecode(password)}`
  return new ProxyWay({
    ...shared,
    uri: proxy.origin,
    requestTls: { ...connect },
    proxyTls: { ...connect },
    ...(username === '' ? {} : { token: `Basic ${Buffer.from(login).toString('base64')}` }),
  })
}

/** A password with a bare `%` in it is taken as it stands. */
function percentDecode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

async function readCertificates(path: string): Promise<string> {
  const hint = 'point SSL_CERT_FILE at a file of PEM certificates, or unset it, and restart prefect-authd'
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw new BrokerError('setting_invalid', `the file of SSL_CERT_FILE, ${path}, can't be read`, {
      hint,
      cause,
    })
  }
  if (text.includes('-----BEGIN ') && text.includes('CERTIFICATE-----')) return text
  throw new BrokerError('setting_invalid', `the file of SSL_CERT_FILE, ${path}, holds no certificate`, {
    hint,
  })
}

interface JobAgent {
  /** The way to an origin. Rejects with `setting_invalid`. */
  dispatcherFor(origin: string): Promise<Way>
  /** Cuts every connection. */
  close(): Promise<void>
}

/** Many jobs go through it, each with a few requests a minute: connections are kept for as long as Prefect keeps them. */
export function openJobAgent(env: Readonly<Record<string, string | undefined>>): JobAgent {
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
