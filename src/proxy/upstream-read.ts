/** A read of our own at the upstream of a visit, with the profile's key: for the names of what a request is about. */
import { headersBeside } from '../prefect/connection.js'
import { exchange } from '../prefect/exchange.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Visit } from './admission.js'
import type { Authorizer } from './headers.js'
import type { ProxyWay } from './proxy.js'

/** Resolves with the JSON of `GET path`, or `undefined` if there is none in time. Never rejects. */
export type ReadUpstream = (visit: Visit, path: string) => Promise<unknown>

/** Somebody waits. */
const TOTAL_MS = 2 * SECOND_MS
const LIMITS = { headersTimeoutMs: TOTAL_MS, bodyTimeoutMs: TOTAL_MS, maxBodyBytes: 1024 * 1024 }

export function createUpstreamRead({
  dispatcherFor,
  authorizer,
  clock,
}: {
  readonly dispatcherFor: ProxyWay['dispatcherFor']
  readonly authorizer: Authorizer
  readonly clock: Clock
}): ReadUpstream {
  return async ({ served, upstream }, path) => {
    const url = new URL(`${upstream.origin}${upstream.basePath}${path}`)
    const abort = new AbortController()
    const timer = clock.after(TOTAL_MS, () => abort.abort(new Error('no answer in time')))
    try {
      const dispatcher = await dispatcherFor(upstream.origin, upstream.connection?.tls)
      const own = defined({
        accept: 'application/json',
        authorization: authorizer.header(served, upstream),
      })
      const headers = { ...own, ...headersBeside(own, upstream.connection) }
      const request = { method: 'GET', url, headers } as const
      const got = await exchange(dispatcher, request, LIMITS, abort.signal)
      return got.kind === 'answer' && got.answer.status === 200 ? JSON.parse(got.answer.text) : undefined
    } catch {
      return undefined
    } finally {
      timer.cancel()
    }
  }
}
