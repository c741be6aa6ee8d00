/** Connections to Prefect Cloud: trusted certificates, proxies, and keep-alive. */

import { stat } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import type { SecureContext } from 'node:tls'
import type { Agent, Dispatcher, ProxyAgent } from 'undici'
import { BrokerError } from '../base/errors.js'
import { readPlainFile } from '../os/private-files.js'
import { SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { userinfoOf } from './api-url.js'
import type { TlsSettings } from './connection.js'
import { type ProxySettings, planProxyRoute, resolveProxySettings } from './way-out.js'

export interface HttpAgent {
  /**
   * The dispatcher for `url`'s host, kept alive between requests; `tls`: a profile's own, in place of the agent's. A file of
   * certificates that changes is read again within a second. Rejects with `setting_invalid`.
   */
  dispatcherFor(url: URL, tls?: TlsSettings): Promise<Dispatcher>
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
  const stamps = createStamps()

  const connectWith = async ({ caFile, namedBy = 'SSL_CERT_FILE', isUnverified }: TlsSettings) => ({
    timeout: connectTimeoutMs,
    // Node's 250 ms per address are too short for a slow link (nodejs/node#54359).
    autoSelectFamilyAttemptTimeout: SECOND_MS,
    ...defined({
      secureContext: caFile === undefined ? undefined : await trusting(caFile, namedBy),
      rejectUnauthorized: isUnverified === true ? false : undefined,
    }),
  })

  const open = async (via: URL | undefined, wanted: TlsSettings): Promise<Dispatcher> => {
    const connect = await connectWith(wanted)
    // A third of our code, and all of TLS. Not needed to start, or to hand out credentials.
    const undici = await import('./undici.js')
    if (via === undefined) return new undici.Agent({ ...shared, connect })
    // What a profile says of its server says nothing of the company's proxy.
    return openProxy(undici.ProxyAgent, via, { connect, ofProxy: await connectWith(tls) }, shared)
  }

  return {
    async dispatcherFor(url, wanted = tls) {
      const route = planProxyRoute(url, proxy)
      if (route.kind === 'unusable') {
        throw new BrokerError('setting_invalid', `cannot use the proxy: ${route.problem}`, {
          hint: 'correct or unset HTTPS_PROXY and ALL_PROXY, or add the host to NO_PROXY, and restart prefect-authd',
        })
      }
      const via = route.kind === 'proxy' ? route.proxy : undefined
      const { caFile, isUnverified = false } = wanted
      const stamp = caFile === undefined ? '' : await stamps.of(caFile)
      const place = JSON.stringify([via?.href, isUnverified, caFile])
      const name = `${place} ${stamp}`
      const known = dispatchers.get(name)
      if (known) return known
      retire(dispatchers, (other) => other.startsWith(`${place} `))
      const dispatcher = open(via, wanted)
      dispatchers.set(name, dispatcher)
      dispatcher.catch(() => dispatchers.delete(name))
      return dispatcher
    },
    forget: () => retire(dispatchers, () => true),
    async close() {
      const open = [...dispatchers.values()]
      dispatchers.clear()
      await Promise.allSettled(open.map(async (one) => (await one).destroy()))
    },
  }
}

/** Running requests finish. */
function retire(dispatchers: Map<string, Promise<Dispatcher>>, isOld: (name: string) => boolean): void {
  for (const [name, one] of dispatchers) {
    if (!isOld(name)) continue
    dispatchers.delete(name)
    one.then((opened) => opened.close()).catch(() => undefined)
  }
}

/** Tells whether a file is still the one that was read: looked at once a second at most. */
function createStamps() {
  const known = new Map<string, { readonly at: number; readonly stamp: Promise<string> }>()
  const look = (path: string) =>
    stat(path).then(
      ({ mtimeMs, size, ino }) => `${mtimeMs} ${size} ${ino}`,
      () => 'missing',
    )
  return {
    of(path: string): Promise<string> {
      const now = performance.now()
      const last = known.get(path)
      if (last !== undefined && now - last.at < SECOND_MS) return last.stamp
      const stamp = look(path)
      known.set(path, { at: now, stamp })
      return stamp
    },
  }
}

interface ConnectOptions {
  readonly timeout: number
  readonly secureContext?: SecureContext
  readonly rejectUnauthorized?: boolean
}

function openProxy(
  ProxyWay: typeof ProxyAgent,
  proxy: URL,
  { connect, ofProxy }: { readonly connect: ConnectOptions; readonly ofProxy: ConnectOptions },
  shared: Agent.Options,
): Dispatcher {
  const login = userinfoOf(proxy)
  return new ProxyWay({
    ...shared,
    uri: proxy.origin,
    // Copies, because undici changes them.
    requestTls: { ...connect },
    proxyTls: { ...ofProxy },
    ...defined({ token: login && `Basic ${Buffer.from(login).toString('base64')}` }),
  })
}

/** For all connections: the certificates that systems come with take a tenth of a second, in which nothing else is done. */
async function trusting(caFile: string, namedBy: string): Promise<SecureContext> {
  const ca = await readCertificates(caFile, namedBy)
  const { createSecureContext } = await import('node:tls')
  return createSecureContext({ ca })
}

async function readCertificates(path: string, namedBy: string): Promise<string> {
  const isOwn = namedBy === 'SSL_CERT_FILE'
  const hint = isOwn
    ? 'set SSL_CERT_FILE to a file of PEM certificates, or unset it, and restart prefect-authd'
    : `set ${namedBy} of the profile to the absolute path of a file of PEM certificates: prefect config set`
  // Relative to each client's own directory, and the daemon has none.
  if (!isOwn && !isAbsolute(path)) {
    const problem = `cannot use ${path}, which ${namedBy} names: it is not absolute`
    throw new BrokerError('setting_invalid', problem, { hint })
  }
  let text: string
  try {
    const content = await readPlainFile(path)
    if (content === undefined) throw new Error('there is no such file')
    text = content.toString('utf8')
  } catch (cause) {
    throw new BrokerError('setting_invalid', `cannot read ${path}, the file that ${namedBy} names`, {
      hint,
      cause,
    })
  }
  if (text.includes('-----BEGIN ') && text.includes('CERTIFICATE-----')) return text
  throw new BrokerError(
    'setting_invalid',
    `cannot use ${path}, the file that ${namedBy} names: it holds no certificate`,
    {
      hint,
    },
  )
}

/** The dispatcher for an origin; `tls` as in `HttpAgent`. No promise, once it is open. Rejects with `setting_invalid`. */
export type DispatcherFor = (origin: string, tls?: TlsSettings) => Dispatcher | Promise<Dispatcher>

interface JobAgent {
  readonly dispatcherFor: DispatcherFor
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
  const open = async (origin: string): Promise<Dispatcher> => {
    const dispatcher = await agent.dispatcherFor(new URL(origin))
    dispatchers.set(origin, dispatcher)
    return dispatcher
  }
  return {
    dispatcherFor(origin, tls) {
      if (tls !== undefined) return agent.dispatcherFor(new URL(origin), tls)
      return dispatchers.get(origin) ?? open(origin)
    },
    close: agent.close,
  }
}
