/** The body of a request on its way up: small ones whole, so that they can be sent again; large ones as they come. */
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { BrokerError } from '../base/errors.js'
import type { Clock } from '../std/clock.js'
import type { ProxyLimits } from './deps.js'

export type ProxyBody =
  | { readonly kind: 'none' }
  | { readonly kind: 'whole'; readonly bytes: Buffer }
  | { readonly kind: 'stream'; readonly length: number; open(): Readable }

/** Rejects with `body_too_large`, or `bad_request` where the client breaks off or stands still. */
export async function readBody(
  request: IncomingMessage,
  limits: ProxyLimits,
  clock: Clock,
): Promise<ProxyBody> {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  if (length === undefined && encoding === undefined) return { kind: 'none' }
  const bytes = Number(length ?? 0)
  if (encoding === undefined && bytes === 0) return { kind: 'none' }
  if (encoding === undefined && bytes > limits.bufferBytes) {
    return { kind: 'stream', length: bytes, open: () => openStream(request, limits, clock) }
  }
  const most = encoding === undefined ? limits.bufferBytes : limits.unmeasuredBytes
  return { kind: 'whole', bytes: await readWhole(request, most, limits.bodyIdleMs, clock) }
}

function readWhole(request: IncomingMessage, most: number, idleMs: number, clock: Clock): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    let last = clock.monotonic()
    const fail = (error: BrokerError) => {
      stop()
      reject(error)
    }
    const watch = watchIdle(
      clock,
      idleMs,
      () => clock.monotonic() - last,
      () => fail(stoodStill()),
    )
    const onData = (chunk: Buffer) => {
      last = clock.monotonic()
      size += chunk.length
      chunks.push(chunk)
      if (size > most) fail(tooLarge(most))
    }
    const onEnd = () => {
      stop()
      const [only] = chunks
      resolve(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks))
    }
    const onGone = () => fail(new BrokerError('bad_request', 'the client broke its request off'))
    const stop = () => {
      watch.cancel()
      request.off('data', onData).off('end', onEnd).off('close', onGone)
      request.resume()
    }
    request.on('data', onData).on('end', onEnd).on('close', onGone).on('error', onGone)
  })
}

/**
 * Not the request itself: whoever reads this may destroy it before its end, and the client must still be able to read the
 * answer. What is left of the body then goes nowhere.
 */
function openStream(request: IncomingMessage, { bodyIdleMs }: ProxyLimits, clock: Clock): Readable {
  let last = clock.monotonic()
  const body = new Readable({
    highWaterMark: 256 * 1024,
    read() {
      last = clock.monotonic()
      request.resume()
    },
    destroy(error, done) {
      watch.cancel()
      request.off('data', onData).off('end', onEnd).off('close', onGone)
      request.resume()
      done(error)
    },
  })
  // Only a client that is asked for more can stand still.
  const idle = () => (request.isPaused() ? 0 : clock.monotonic() - last)
  const watch = watchIdle(clock, bodyIdleMs, idle, () => body.destroy(stoodStill()))
  const onData = (chunk: Buffer) => {
    last = clock.monotonic()
    if (!body.push(chunk)) request.pause()
  }
  const onEnd = () => body.push(null)
  const onGone = () => {
    if (!request.complete) body.destroy(new BrokerError('bad_request', 'the client broke its request off'))
  }
  request.on('data', onData).on('end', onEnd).on('close', onGone).on('error', onGone)
  request.pause()
  return body
}

function watchIdle(clock: Clock, idleMs: number, idle: () => number, onIdle: () => void) {
  const look = () => {
    const left = idleMs - idle()
    if (left <= 0) onIdle()
    else timer = clock.after(left, look)
  }
  let timer = clock.after(idleMs, look)
  return { cancel: () => timer.cancel() }
}

function stoodStill(): BrokerError {
  return new BrokerError('bad_request', 'the body of the request did not arrive')
}

function tooLarge(most: number): BrokerError {
  return new BrokerError(
    'body_too_large',
    `a body that does not tell its length may have ${most / 1024 / 1024} MiB at most`,
    { hint: 'send Content-Length' },
  )
}
