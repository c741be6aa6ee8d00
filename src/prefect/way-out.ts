/**
 * Pure: whether a request goes through a proxy, by the environment that Prefect's own client obeys (httpx 0.28), with one
 * difference: loopback is never proxied. httpx does proxy it where NO_PROXY is silent, and would so hand a key that was
 * meant for this machine, in plain text, to another.
 */
import { BrokerError } from '../base/errors.js'

/** As in the environment; a value without `://` is an http proxy. */
export interface ProxySettings {
  readonly httpsProxy?: string
  readonly httpProxy?: string
  /** For what the other two do not say. */
  readonly allProxy?: string
  /** Hosts, domains, addresses, `host:port`, `https://host`, `*`; by commas. Ranges (`10.0.0.0/8`) are not understood, as in httpx. */
  readonly noProxy?: string
}

type ProxyRoute =
  | { readonly kind: 'direct' }
  | { readonly kind: 'proxy'; readonly proxy: URL }
  /** `problem` never repeats the value: it may hold a password. */
  | { readonly kind: 'unusable'; readonly problem: string }

type Environment = Readonly<Record<string, string | undefined>>

/** The settings in an environment: the lower-case name wins, also where it is empty, as Python's `getproxies` has it. */
export function resolveProxySettings(env: Environment): ProxySettings {
  const read = (name: string): string | undefined => env[name] ?? env[name.toUpperCase()]
  const httpsProxy = read('https_proxy')
  const httpProxy = read('http_proxy')
  const allProxy = read('all_proxy')
  const noProxy = read('no_proxy')
  return {
    ...(httpsProxy ? { httpsProxy } : {}),
    ...(httpProxy ? { httpProxy } : {}),
    ...(allProxy ? { allProxy } : {}),
    ...(noProxy ? { noProxy } : {}),
  }
}

/** The way to `url`. */
export function planProxyRoute(url: URL, settings: ProxySettings): ProxyRoute {
  if (isLoopbackHost(url.hostname)) return { kind: 'direct' }
  const own = url.protocol === 'https:' ? settings.httpsProxy : settings.httpProxy
  const value = own || settings.allProxy
  if (!value || isExempt(url, settings.noProxy ?? '')) return { kind: 'direct' }
  const variable = own ? `${url.protocol.slice(0, -1).toUpperCase()}_PROXY` : 'ALL_PROXY'
  return parseProxy(value.trim(), variable)
}

function parseProxy(value: string, variable: string): ProxyRoute {
  const text = value.includes('://') ? value : `http://${value}`
  if (!URL.canParse(text)) return { kind: 'unusable', problem: `${variable} is not a URL` }
  const proxy = new URL(text)
  if (proxy.protocol === 'http:' || proxy.protocol === 'https:') return { kind: 'proxy', proxy }
  return {
    kind: 'unusable',
    problem: `${variable} names a ${proxy.protocol.slice(0, -1)} proxy; only http and https proxies work here`,
  }
}

/** `127.0.0.0/8`, `::1` and `localhost`, as `URL.hostname` writes them. */
export function isLoopbackHost(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname)
}

function isExempt(url: URL, noProxy: string): boolean {
  const entries = noProxy.split(',').map((entry) => entry.trim().toLowerCase())
  return entries.some((entry) => entry === '*' || (entry !== '' && matches(url, entry)))
}

/** `example.com` covers itself and what is under it, `.example.com` only what is under it, an address only itself. */
function matches(url: URL, entry: string): boolean {
  const [scheme, rest] = entry.includes('://') ? split(entry, entry.indexOf('://'), 3) : ['all', entry]
  if (scheme !== 'all' && `${scheme}:` !== url.protocol) return false
  const { host, port } = splitPort(rest)
  if (port !== undefined && port !== (url.port || (url.protocol === 'https:' ? '443' : '80'))) return false
  const name = unbracket(url.hostname)
  const wanted = unbracket(host).replace(/^\*/, '')
  return name === wanted || name.endsWith(wanted.startsWith('.') ? wanted : `.${wanted}`)
}

/** A bare IPv6 address has colons and no port. */
function splitPort(text: string): { readonly host: string; readonly port?: string } {
  const colon = text.lastIndexOf(':')
  const isAddress = text.indexOf(':') !== colon && !text.startsWith('[')
  if (colon < 0 || isAddress || text.endsWith(']')) return { host: text }
  const [host, port] = split(text, colon, 1)
  return { host, port }
}

function split(text: string, at: number, width: number): readonly [before: string, after: string] {
  return [text.slice(0, at), text.slice(at + width)]
}

function unbracket(host: string): string {
  return host.replace(/^\[|\]$/g, '')
}

/**
 * The URL of `path` under the Cloud API's base. Throws `api_url_invalid` where the base is no https URL (http on loopback),
 * or holds a user, a query or a fragment.
 */
export function parseCloudAddress(cloudApiUrl: string, path: string): URL {
  if (!URL.canParse(cloudApiUrl)) throw invalid('the URL of the Cloud API is not a URL')
  const base = new URL(cloudApiUrl)
  if (base.username !== '' || base.password !== '' || base.search !== '' || base.hash !== '') {
    throw invalid(`the URL of the Cloud API on ${base.host} has a user, a query or a fragment in it`)
  }
  if (base.protocol !== 'https:' && !(base.protocol === 'http:' && isLoopbackHost(base.hostname))) {
    throw invalid(
      `the key is not sent to ${base.host} over ${base.protocol.slice(0, -1)}, which anyone can read`,
    )
  }
  return new URL(`${base.origin}${base.pathname.replace(/\/+$/, '')}${path}`)
}

/**
 * `id` as one segment of a path. Ids come from callers: `..` would make another call of a DELETE. Throws
 * `prefect_not_found`, since no such id exists.
 */
export function pathSegment(id: string): string {
  if (/^[A-Za-z0-9_-]{1,100}$/.test(id)) return id
  throw new BrokerError(
    'prefect_not_found',
    'this is not the id of anything at Prefect: letters, digits, - and _ only',
  )
}

function invalid(problem: string): BrokerError {
  return new BrokerError('api_url_invalid', problem, {
    hint: 'set PREFECT_CLOUD_API_URL to an https URL such as https://api.prefect.cloud/api',
  })
}
