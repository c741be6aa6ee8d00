/** Connections to Prefect Cloud: trusted certificates, proxies, and keep-alive. */

import type { Agent, Dispatcher, ProxyAgent } from 'undici'
import { BrokerError } from '../base/errors.js'
import { readPlainFile } from '../os/private-files.js'
import { SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { userinfoOf } from './api-url.js'
import { type ProxySettings, planProxyRoute, resolveProxySettings } from './way-out.js'

export interface TlsSettings {
  /** `SSL_CERT_FILE`: PEM certificates, trusted instead of Node's own list, as httpx does. */
  readonly caFile?: string
}

export interface HttpAgent {
  /** The dispatcher for `url`'s host, kept alive between requests. Rejects with `setting_invalid`. */
  dispatcherFor(url: URL): Promise<Dispatcher>
  /** Forgets every connection, so that the next request reads the certificates again. Running requests finish. */
  forget(): void
  /** Cuts every connection. */
  close(): Promise<void>
}

const SHARED = {
  pipelining: 1,
  // Prefect's load balancer closes idle connections after 30 s: ours are gone before.
  keepAliveMaxTimeout: 20 * SECOND_MS,
}

export function createHttpAgent({
  tls,
  proxy,
  connectTimeoutMs,
  connections = 8,
  keepAliveMs = 4 * SECOND_MS,
}: {
  readonly tls: TlsSettings
  readonly proxy: ProxySettings
  readonly connectTimeoutMs: number
  /** At most, to one origin at once. */
  readonly connections?: number
  /** How long an idle connection is kept. */
  readonly keepAliveMs?: number
}): HttpAgent {
  const shared = { ...SHARED, connections, keepAliveTimeout: keepAliveMs }
  const dispatchers = new Map<string, Promise<Dispatcher>>()

  const open = async (via: URL | undefined): Promise<Dispatcher> => {
    const ca = tls.caFile === undefined ? undefined : await readCertificates(tls.caFile)
    const connect = {
      timeout: connectTimeoutMs,
      // Node's 250 ms per address are too short for a slow link (nodejs/node#54359).
      autoSelectFamilyAttemptTimeout: SECOND_MS,
      ...defined({ ca }),
    }
    // A third of our code, and all of TLS. Not needed to start, or to hand out credentials.
    const undici = await import('undici')
    return via === undefined
      ? new undici.Agent({ ...shared, connect })
      : openProxy(undici.ProxyAgent, via, connect, shared)
  }

  return {
    async dispatcherFor(url) {
      const route = planProxyRoute(url, proxy)
      if (route.kind === 'unusable') {
        throw new BrokerError('setting_invalid', `cannot use the proxy: ${route.problem}`, {
          hint: 'correct or unset HTTPS_PROXY and ALL_PROXY, or add the host to NO_PROXY, and restart prefect-authd',
        })
      }
      const via = route.kind === 'proxy' ? route.proxy : undefined
      const name = via?.href ?? 'direct'
      const known = dispatchers.get(name)
      if (known) return known
      const dispatcher = open(via)
      dispatchers.set(name, dispatcher)
      dispatcher.catch(() => dispatchers.delete(name))
      return dispatcher
    },
    forget() {
      for (const one of dispatchers.values()) one.then((opened) => opened.close()).catch(() => undefined)
      dispatchers.clear()
    },
    async close() {
      const open = [...dispatchers.values()]
      dispatchers.clear()
      await Promise.allSettled(open.map(async (one) => (await one).destroy()))
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
  const login = userinfoOf(proxy)
  return new ProxyWay({
    ...shared,
    uri: proxy.origin,
    // Copies, because undici changes them.
    requestTls: { ...connect },
    proxyTls: { ...connect },
    ...defined({ token: login && `Basic ${Buffer.from(login).toString('base64')}` }),
  })
}

async function readCertificates(path: string): Promise<string> {
  const hint = 'set SSL_CERT_FILE to a file of PEM certificates, or unset it, and restart prefect-authd'
  let text: string
  try {
    const content = await readPlainFile(path)
    if (content === undefined) throw new Error('there is no such file')
    text = content.toString('utf8')
  } catch (cause) {
    throw new BrokerError('setting_invalid', `cannot read ${path}, the file that SSL_CERT_FILE names`, {
      hint,
      cause,
    })
  }
  if (text.includes('-----BEGIN ') && text.includes('CERTIFICATE-----')) return text
  throw new BrokerError(
    'setting_invalid',
    `cannot use ${path}, the file that SSL_CERT_FILE names: it holds no certificate`,
    {
      hint,
    },
  )
}

interface JobAgent {
  /** The dispatcher for an origin. Rejects with `setting_invalid`. */
  dispatcherFor(origin: string): Promise<Dispatcher>
  /** Cuts every connection. */
  close(): Promise<void>
}

/** For many jobs with a few requests a minute each: keeps connections as long as Prefect does. */
export function openJobAgent(env: Readonly<Record<string, string | undefined>>): JobAgent {
  const caFile = env.SSL_CERT_FILE
  const agent = createHttpAgent({
    tls: defined({ caFile: caFile || undefined }),
    proxy: resolveProxySettings(env),
    connectTimeoutMs: 10 * SECOND_MS,
    connections: 128,
    keepAliveMs: 20 * SECOND_MS,
  })
  // Looked up once per origin, not per request; there are at most as many as profiles.
  const dispatchers = new Map<string, Dispatcher>()
  return {
    async dispatcherFor(origin) {
      const dispatcher = dispatchers.get(origin) ?? (await agent.dispatcherFor(new URL(origin)))
      dispatchers.set(origin, dispatcher)
      return dispatcher
    },
    close: agent.close,
  }
}
