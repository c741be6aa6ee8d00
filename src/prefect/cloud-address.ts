/** Pure: the URL of one call. The key travels encrypted or not at all, so plain http goes to this machine only. */
import { BrokerError } from '../base/errors.js'
import { isLoopbackHost } from './way-out.js'

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
