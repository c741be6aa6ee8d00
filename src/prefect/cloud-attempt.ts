/** One try of a call to Prefect Cloud: sends, and says what the outcome means and whether another try may help. */
import type { BrokerError } from '../base/errors.js'
import type { HttpAgent } from './agent.js'
import type { CallOptions, CloudCall, CloudTimeouts } from './cloud-options.js'
import { type CloudAnswer, type CloudRequest, type Exchanged, exchange } from './exchange.js'
import { describeNetworkError, type NetworkFailure } from './network-errors.js'
import { type AskedOf, describeRefusal, isPage, unexpected } from './refusals.js'
import { isRetryStatus, parseHttpDate, parseRetryAfter } from './retry.js'

export type Attempted =
  | { readonly kind: 'done'; readonly answer: CloudAnswer }
  | {
      readonly kind: 'failed'
      readonly error: BrokerError
      readonly isRetryable: boolean
      readonly retryAfterMs: number | undefined
    }

export type CloudAttempt = (
  request: CloudRequest,
  call: CloudCall,
  asked: AskedOf,
  signal: AbortSignal,
) => Promise<Attempted>

const MAX_BODY_BYTES = 4 * 1024 * 1024

export function createCloudAttempt({
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

  const send = async (request: CloudRequest, signal: AbortSignal): Promise<Exchanged> => {
    try {
      return await exchange(await agent.dispatcherFor(request.url), request, limits, signal)
    } catch (error) {
      return { kind: 'failed', phase: 'before', error }
    }
  }

  const judge = (answer: CloudAnswer, call: CloudCall, asked: AskedOf): Attempted => {
    const { status, headers } = answer
    const now = clock.now()
    const serverAt = parseHttpDate(headers.get('date'))
    // The time of a portal that answers in Prefect's place is not Prefect's.
    if (serverAt !== undefined && !isPage(answer)) onServerDate?.(serverAt, now)
    if ((status >= 200 && status < 300) || call.accept?.includes(status)) return { kind: 'done', answer }
    const retryAfterMs = parseRetryAfter(headers.get('retry-after'), { serverAt, now })
    const error = describeRefusal(answer, asked, retryAfterMs === undefined ? undefined : now + retryAfterMs)
    return { kind: 'failed', error, isRetryable: isRetryStatus(status), retryAfterMs }
  }

  return async (request, call, asked, signal) => {
    const got = await send(request, signal)
    if (got.kind === 'answer') return judge(got.answer, call, asked)
    if (got.kind === 'too_large') return failed(unexpected(asked, `more than ${got.limit} bytes`), false)
    const failure: NetworkFailure = describeNetworkError(got.error, { ...asked, phase: got.phase })
    // The certificates may have been repaired by the time of the next call.
    if (failure.isUntrusted) agent.forget()
    return failed(failure.error, failure.isRetryable)
  }
}

function failed(error: BrokerError, isRetryable: boolean): Attempted {
  return { kind: 'failed', error, isRetryable, retryAfterMs: undefined }
}
