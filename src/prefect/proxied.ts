/** Pure: which profile and which path of its API a request to `/proxy/{profile}/api/**` means. */

export interface ProxyTarget {
  readonly profile: string
  /** Our own part of the path, as it was asked: `/proxy/{profile}/api`. */
  readonly prefix: string
  /** What is below the API's base, as it was asked: empty, or with a leading slash. */
  readonly path: string
  /** With its question mark, or empty. */
  readonly query: string
}

const TARGET = /^(\/proxy\/([^/?#\\]+)\/api)(\/[^?#]*)?(\?[^#]*)?$/

/** Whether the request is the proxy's to answer, if only by a refusal. */
export function isProxyTarget(target: string): boolean {
  return target.startsWith('/proxy/')
}

/** `undefined`: no profile's API has this path. */
export function parseProxyTarget(target: string): ProxyTarget | undefined {
  const [, prefix, encoded, path = '', query = ''] = TARGET.exec(target) ?? []
  if (prefix === undefined || encoded === undefined) return undefined
  const profile = decode(encoded)
  return profile === undefined ? undefined : { profile, prefix, path, query }
}

/** The path of a profile's API on our own server. */
export function proxyPrefix(profile: string): string {
  return `/proxy/${encodeURIComponent(profile)}/api`
}

/** `undefined` for what is no UTF-8 in percent signs. */
export function decode(segment: string): string | undefined {
  if (!segment.includes('%')) return segment
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}
