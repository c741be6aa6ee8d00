/** Pure: the page a login opens, byte for byte as Prefect's own clients write it, and the origin that page has. */
import { BrokerError } from '../base/errors.js'

/**
 * `{UI}/auth/client?callback=http%3A//localhost%3A<port>&g=true`: Python's `quote` leaves the slashes, and so do we.
 * `g=true` asks the page to deliver by a top-level GET.
 */
export function loginUrl(cloudUiUrl: string, callbackUrl: string): string {
  const quoted = callbackUrl.replaceAll(':', '%3A')
  return `${cloudUiUrl.replace(/\/+$/, '')}/auth/client?callback=${quoted}&g=true`
}

/** The only `Origin` that may post to the callback. Throws `api_url_invalid`. */
export function uiOrigin(cloudUiUrl: string): string {
  const url = URL.canParse(cloudUiUrl) ? new URL(cloudUiUrl) : undefined
  // Other schemes have the opaque origin "null", which any sandboxed frame on any site can send.
  if (url && (url.protocol === 'https:' || url.protocol === 'http:')) return url.origin
  throw new BrokerError(
    'api_url_invalid',
    'starting a login failed: PREFECT_CLOUD_UI_URL is not a web address',
    {
      hint: 'set PREFECT_CLOUD_UI_URL to something like https://app.prefect.cloud',
    },
  )
}
