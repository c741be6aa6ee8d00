/** The way to Prefect: which proxy a request goes through, and which addresses a key may be sent to. */
import { BrokerError } from '../base/errors.js'
import { defined } from '../std/defined.js'

/** As in the environment; a value without `://` is an http proxy. */
export interface ProxySettings {
  readonly httpsProxy?: string
  readonly httpProxy?: string
  /** For what the other two do not cover. */
  readonly allProxy?: string
  /**
   * Hosts, domains, addresses, `host:port`, `https://host`, `*`, separated by commas. No ranges: of `10.0.0.0/8` only the address
   * counts, as in httpx.
   */
  readonly noProxy?: string
}

type ProxyRoute =
  | { readonly kind: 'direct' }
  | { readonly kind: 'proxy'; readonly proxy: URL }
  /** `problem` never repeats the value: it may hold a password. */
  | { readonly kind: 'unusable'; readonly problem: string }

type Environment = Readonly<Record<string, string | undefined>>

/**
 * The settings in an environment, by the rules of Python's `getproxies`: the lower-case name wins, even if it is empty, then the
 * last of the others (`HTTPS_PROXY`, `Https_Proxy`) that is not.
 */
export function resolveProxySettings(env: Environment): ProxySettings {
  const others = (name: string) =>
    Object.entries(env).findLast(([other, value]) => value && other.toLowerCase() === name)?.[1]
  const read = (name: string): string | undefined => (env[name] ?? others(name)) || undefined
  return defined({
    httpsProxy: read('https_proxy'),
    httpProxy: read('http_proxy'),
    allProxy: read('all_proxy'),
    noProxy: read('no_proxy'),
  })
}

/**
 * The way to `url`, by the rules of Prefect's own client (httpx 0.28), with two exceptions. Loopback is never proxied: httpx does
 * that unless NO_PROXY forbids it, and would hand a key meant for this machine, in plain text, to another. And entries of NO_PROXY
 * that httpx overlooks or does not start with (`*.example.com`, `example.com:443`, addresses like `2001:DB8::1` and `[::2]`) mean
 * what they say.
 */
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

/**
 * `example.com` covers itself and its subdomains, `.example.com` only subdomains; an address, `localhost` and a host after a scheme
 * (`https://example.com`) only themselves.
 */
function matches(url: URL, entry: string): boolean {
  const hasScheme = entry.includes('://')
  const [scheme, rest] = hasScheme ? split(entry, entry.indexOf('://'), 3) : ['all', entry]
  if (scheme !== 'all' && `${scheme}:` !== url.protocol) return false
  const { host, port } = splitPort(rest.replace(/\/.*$/, ''))
  if (port !== undefined && port !== (url.port || (url.protocol === 'https:' ? '443' : '80'))) return false
  const name = unbracket(url.hostname)
  const wanted = unbracket(host).replace(/^\*/, '')
  if (name === wanted) return true
  const isAlone = wanted === 'localhost' || (hasScheme && !host.startsWith('*'))
  return !isAlone && name.endsWith(wanted.startsWith('.') ? wanted : `.${wanted}`)
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
 * The URL of `path` under the Cloud API's base. Throws `api_url_invalid` if the base is not an https URL (http on loopback),
 * or contains a user, a query or a fragment.
 */
export function parseCloudAddress(cloudApiUrl: string, path: string): URL {
  if (!URL.canParse(cloudApiUrl)) throw invalid('cannot use PREFECT_CLOUD_API_URL: it is not a URL')
  const base = new URL(cloudApiUrl)
  if (base.username !== '' || base.password !== '' || base.search !== '' || base.hash !== '') {
    throw invalid(`cannot use the Cloud API at ${base.host}: its URL contains a user, a query or a fragment`)
  }
  if (base.protocol !== 'https:' && !(base.protocol === 'http:' && isLoopbackHost(base.hostname))) {
    throw invalid(
      `cannot send the key to ${base.host} over ${base.protocol.slice(0, -1)}: it is not encrypted`,
    )
  }
  return new URL(`${base.origin}${base.pathname.replace(/\/+$/, '')}${path}`)
}

/**
 * `id` as one segment of a path. Ids come from callers, and `..` would turn a DELETE into another call. Throws
 * `prefect_not_found`, since no such id exists.
 */
export function pathSegment(id: string): string {
  if (/^[A-Za-z0-9_-]{1,100}$/.test(id)) return id
  throw new BrokerError(
    'prefect_not_found',
    'cannot find this at Prefect: ids consist of letters, digits, - and _',
  )
}

function invalid(problem: string): BrokerError {
  return new BrokerError('api_url_invalid', problem, {
    hint: 'set PREFECT_CLOUD_API_URL to an https URL such as https://api.prefect.cloud/api',
  })
}
