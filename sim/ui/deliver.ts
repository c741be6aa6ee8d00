/** Delivers a key as the login page does, over plain HTTP: for tests without a browser. */
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import type { Ui } from './ui.js'

export interface DeliverOptions {
  /** Default: what the URL asks for. */
  readonly mode?: 'get' | 'post'
  /** Cancels with this reason instead: `POST /failure`. */
  readonly cancel?: string
  /** Deliver this key instead of a new one. */
  readonly key?: string
  /** Origin header of a POST; default the UI's own. `null` sends none. */
  readonly origin?: string | null
  /** Extra headers; they override a browser's. */
  readonly headers?: Readonly<Record<string, string>>
}

export interface Delivery {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
  /** The key that was delivered. */
  readonly key: string
}

/** Rejects if the URL is not this simulator's login page, or nothing listens at the callback. */
export async function deliver(
  { ui, uiUrl }: { readonly ui: Ui; readonly uiUrl: string },
  loginUrl: string,
  { mode, cancel, key, origin = new URL(uiUrl).origin, headers = {} }: DeliverOptions = {},
): Promise<Delivery> {
  const page = new URL(loginUrl)
  const login = ui.parse(page.searchParams)
  if (login === undefined || page.origin !== new URL(uiUrl).origin || page.pathname !== '/auth/client') {
    throw new Error(`not a login page of this simulator: ${loginUrl}`)
  }
  const sent = cancel === undefined ? (key ?? ui.issue()) : ''
  const byGet = mode === undefined ? login.byGet : mode === 'get'
  if (byGet && cancel === undefined) {
    return {
      ...(await send(`${login.callback}?key=${sent}`, 'GET', { ...NAVIGATION, ...headers })),
      key: sent,
    }
  }
  const body = JSON.stringify(cancel === undefined ? { api_key: sent } : { reason: cancel })
  const url = `${login.callback}/${cancel === undefined ? 'success' : 'failure'}`
  const from = origin === null ? {} : { origin }
  return { ...(await send(url, 'POST', { ...FETCH, ...from, ...headers }, body)), key: sent }
}

/** What Chromium sends with a top-level GET from another site. */
const NAVIGATION = {
  accept: 'text/html,application/xhtml+xml',
  'upgrade-insecure-requests': '1',
  'sec-fetch-site': 'cross-site',
  'sec-fetch-mode': 'navigate',
  'sec-fetch-dest': 'document',
}

/** What it sends with a fetch of the page's script. */
const FETCH = {
  accept: '*/*',
  'content-type': 'application/json',
  'sec-fetch-site': 'cross-site',
  'sec-fetch-mode': 'cors',
  'sec-fetch-dest': 'empty',
}

function send(
  url: string,
  method: string,
  headers: Readonly<Record<string, string>>,
  body = '',
): Promise<Omit<Delivery, 'key'>> {
  return new Promise((resolve, reject) => {
    const length = method === 'POST' ? { 'content-length': String(Buffer.byteLength(body)) } : {}
    const outgoing = httpRequest(url, { method, headers: { ...headers, ...length }, agent: false })
    outgoing.on('error', reject)
    outgoing.on('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8')
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text })
      })
    })
    outgoing.end(body)
  })
}
