/** One call to Prefect Cloud from beginning to end: checks, tries, waits, deadline, log line, verdict. */

import { BrokerError, shuttingDown } from '../base/errors.js'
import { type Clock, SECOND_MS, sleep } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { createHttpAgent, type HttpAgent } from './agent.js'
import type { CloudTarget } from './cloud.js'
import { type ConnectionSettings, headersBeside, type TlsSettings } from './connection.js'
import { type CloudAnswer, type CloudRequest, type Exchanged, exchange } from './exchange.js'
import { isSendableKey } from './key.js'
import { CHECK_NETWORK, describeNetworkError, type NetworkFailure } from './network-errors.js'
import { type AskedOf, describeRefusal, isOwnRefusal, unexpected } from './refusals.js'
import { isRetryStatus, parseHttpDate, parseRetryAfter, planRetry } from './retry.js'
import { type ProxySettings, parseCloudAddress } from './way-out.js'

/** Milliseconds. */
interface CloudTimeouts {
  readonly connectMs: number
  /** From the request to the head of the answer. */
  readonly headersMs: number
  /** Between two pieces of the answer. */
  readonly bodyMs: number
  /** The whole call, with all its tries and waits. */
  readonly totalMs: number
}

export interface CallOptions {
  readonly clock: Clock
  readonly log: Log
  /** In [0, 1). */
  readonly random: () => number
  readonly tls: TlsSettings
  readonly proxy: ProxySettings
  /** A profile's own certificates and headers. */
  readonly connectionOf?: (profile: string, cloudApiUrl: string) => ConnectionSettings | undefined
  readonly timeouts?: Partial<CloudTimeouts>
  /** For every answer of the server's own with a `Date`: its URL, its time, and ours when it came, epoch ms. */
  readonly onServerDate?: (url: string, serverAt: number, receivedAt: number) => void
  readonly userAgent: string
}

interface CloudCall {
  readonly method: CloudRequest['method']
  readonly path: string
  /** Completes "cannot …". */
  readonly purpose: string
  readonly body?: string
  /** Statuses that are an answer to this call, too, besides 2xx. */
  readonly accept?: readonly number[]
}

export interface Answered {
  readonly answer: CloudAnswer
  readonly asked: AskedOf
  /** Call it once the answer proved to be Prefect's own: then its `Date` is believed. */
  believe(): void
}

type Attempted =
  /** `receivedAt`: our time, epoch ms. */
  | { readonly kind: 'done'; readonly answer: CloudAnswer; readonly receivedAt: number }
  | {
      readonly kind: 'failed'
      readonly error: BrokerError
      readonly isRetryable: boolean
      readonly retryAfterMs: number | undefined
    }

interface PreparedRequest extends CloudRequest {
  readonly tls?: TlsSettings
}

type CloudAttempt = (
  request: PreparedRequest,
  call: CloudCall,
  asked: AskedOf,
  signal: AbortSignal,
) => Promise<Attempted>

export interface CloudCaller {
  call(target: CloudTarget, call: CloudCall): Promise<Answered>
  close(): Promise<void>
}

const MAX_BODY_BYTES = 4 * 1024 * 1024
const TIMEOUTS: CloudTimeouts = {
  connectMs: 10 * SECOND_MS,
  headersMs: 15 * SECOND_MS,
  bodyMs: 15 * SECOND_MS,
  totalMs: 30 * SECOND_MS,
}
/** How long `close` waits for a key that is being created. */
const CLOSE_GRACE_MS = 5 * SECOND_MS

export function createCloudCaller(options: CallOptions): CloudCaller {
  const { clock } = options
  const timeouts = { ...TIMEOUTS, ...options.timeouts }
  const agent = createHttpAgent({
    tls: options.tls,
    proxy: options.proxy,
    connectTimeoutMs: timeouts.connectMs,
  })
  const attempt = createCloudAttempt({ ...options, agent, timeouts })
  const running = new Map<AbortController, { readonly isMint: boolean; readonly end: Promise<unknown> }>()
  let isClosed = false

  return {
    async call(target, call) {
      if (isClosed) throw shuttingDown()
      const { request, asked } = prepare(target, call, options)
      const abort = new AbortController()
      const timer = clock.after(timeouts.totalMs, () => abort.abort(tooSlow(asked, timeouts.totalMs)))
      const { signal } = abort
      const work = persist({ ...options, totalMs: timeouts.totalMs, asked, signal }, call, () =>
        attempt(request, call, asked, signal),
      )
      running.set(abort, { isMint: call.method === 'POST', end: work.catch(() => undefined) })
      try {
        const { answer, receivedAt } = await work
        return { answer, asked, believe: () => tellTime(options, request, answer, receivedAt) }
      } finally {
        timer.cancel()
        running.delete(abort)
      }
    },
    async close() {
      isClosed = true
      for (const [abort, { isMint }] of running) if (!isMint) abort.abort(shuttingDown())
      const mints = [...running.values()].map(({ end }) => end)
      if (mints.length > 0) await Promise.race([Promise.all(mints), sleep(clock, CLOSE_GRACE_MS)])
      for (const abort of running.keys()) abort.abort(shuttingDown())
      await agent.close()
    },
  }
}

function createCloudAttempt({
  agent,
  clock,
  onServerDate,
  timeouts,
}: Pick<CallOptions, 'clock' | 'onServerDate'> & {
  readonly agent: HttpAgent
  readonly timeouts: CloudTimeouts
}): CloudAttempt {
  const limits = {
    headersTimeoutMs: timeouts.headersMs,
    bodyTimeoutMs: timeouts.bodyMs,
    maxBodyBytes: MAX_BODY_BYTES,
  }

  const send = async (request: PreparedRequest, signal: AbortSignal): Promise<Exchanged> => {
    try {
      return await exchange(await agent.dispatcherFor(request.url, request.tls), request, limits, signal)
    } catch (error) {
      return { kind: 'failed', phase: 'before', error }
    }
  }

  const judge = (answer: CloudAnswer, request: CloudRequest, call: CloudCall, asked: AskedOf): Attempted => {
    const { status, headers } = answer
    const now = clock.now()
    if ((status >= 200 && status < 300) || call.accept?.includes(status)) {
      return { kind: 'done', answer, receivedAt: now }
    }
    // A login page of the network that answers instead of Prefect has its own time.
    if (isOwnRefusal(answer)) tellTime({ onServerDate }, request, answer, now)
    const serverAt = parseHttpDate(headers.get('date'))
    const retryAfterMs = parseRetryAfter(headers.get('retry-after'), { serverAt, now })
    const error = describeRefusal(answer, asked, retryAfterMs === undefined ? undefined : now + retryAfterMs)
    return { kind: 'failed', error, isRetryable: isRetryStatus(status), retryAfterMs }
  }

  return async (request, call, asked, signal) => {
    const got = await send(request, signal)
    if (got.kind === 'answer') return judge(got.answer, request, call, asked)
    if (got.kind === 'too_large') return failed(unexpected(asked, `more than ${got.limit} bytes`), false)
    const failure: NetworkFailure = describeNetworkError(got.error, { ...asked, phase: got.phase })
    // The certificates may have been repaired by the time of the next call.
    if (failure.isUntrusted) agent.forget()
    return failed(failure.error, failure.isRetryable)
  }
}

function tellTime(
  { onServerDate }: { readonly onServerDate?: CallOptions['onServerDate'] | undefined },
  { url }: CloudRequest,
  { headers }: CloudAnswer,
  receivedAt: number,
): void {
  const serverAt = parseHttpDate(headers.get('date'))
  if (serverAt !== undefined) onServerDate?.(url.origin, serverAt, receivedAt)
}

function failed(error: BrokerError, isRetryable: boolean): Attempted {
  return { kind: 'failed', error, isRetryable, retryAfterMs: undefined }
}

interface Persistence extends Pick<CallOptions, 'clock' | 'log' | 'random'> {
  readonly totalMs: number
  readonly asked: AskedOf
  readonly signal: AbortSignal
}

/** Tries until there is an outcome. A POST is tried once: a lost answer may have created a key. */
async function persist(
  { clock, log, random, totalMs, asked, signal }: Persistence,
  { method, purpose }: CloudCall,
  attempt: () => Promise<Attempted>,
): Promise<Extract<Attempted, { kind: 'done' }>> {
  const startedAt = clock.monotonic()
  for (let tries = 1; ; tries += 1) {
    const outcome = await attempt()
    const tookMs = Math.round(clock.monotonic() - startedAt)
    const facts = { method, host: asked.host, purpose, tries, tookMs }
    if (outcome.kind === 'done') {
      log.debug({ ...facts, status: outcome.answer.status }, 'Prefect Cloud request done')
      return outcome
    }
    const { error, isRetryable, retryAfterMs } = outcome
    log.debug({ ...facts, code: error.code, reason: error.message }, 'Prefect Cloud request failed')
    const isTriedAgain = isRetryable && method !== 'POST' && !signal.aborted
    const waitMs = planRetry({ attempt: tries, retryAfterMs, remainingMs: totalMs - tookMs, random })
    if (!isTriedAgain || waitMs === undefined) throw error
    await sleep(clock, waitMs, signal)
  }
}

/** The request. Throws `api_url_invalid` or `key_malformed`, before anything is sent. */
function prepare(
  target: CloudTarget,
  call: CloudCall,
  { userAgent, connectionOf }: Pick<CallOptions, 'userAgent' | 'connectionOf'>,
): { readonly request: PreparedRequest; readonly asked: AskedOf } {
  const url = parseCloudAddress(target.cloudApiUrl, call.path)
  const key = target.key.reveal() // for the Authorization header to Prefect
  if (!isSendableKey(key)) {
    throw new BrokerError(
      'key_malformed',
      'cannot send this key: it contains characters that no API key has',
      {
        hint: 'prefect-auth login',
      },
    )
  }
  const { profile, cloudApiUrl } = target
  const connection = profile === undefined ? undefined : connectionOf?.(profile, cloudApiUrl)
  const own = {
    authorization: `Bearer ${key}`,
    accept: 'application/json',
    'user-agent': userAgent,
    ...defined({ 'content-type': call.body === undefined ? undefined : 'application/json' }),
  }
  const { method, purpose, body } = call
  const headers = { ...headersBeside(own, connection), ...own }
  const request = { method, url, headers, ...defined({ body, tls: connection?.tls }) }
  return { request, asked: { host: url.host, purpose, key: target.key } }
}

function tooSlow({ host, purpose }: AskedOf, totalMs: number): BrokerError {
  return new BrokerError(
    'prefect_unreachable',
    `cannot ${purpose} at ${host}: no answer within ${totalMs / SECOND_MS} s`,
    {
      hint: CHECK_NETWORK,
    },
  )
}
