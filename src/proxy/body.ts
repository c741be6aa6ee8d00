/** Request bodies: small ones are read whole, so that they can be sent again; large ones are streamed. */
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { BrokerError } from '../base/errors.js'
import { guarded } from '../http/guarded.js'
import type { Clock } from '../std/clock.js'

export type ProxyBody =
  | { readonly kind: 'none' }
  | { readonly kind: 'whole'; readonly bytes: Buffer }
  | {
      readonly kind: 'stream'
      readonly length: number
      open(): Readable
      /** How many bytes of it have come so far. */
      sent(): number
    }

export interface BodyLimits {
  /** Bodies up to this length are read whole before they are sent: cheaper, and they can be sent again. */
  readonly bufferBytes: number
  /** Bodies without a Content-Length are read whole, up to this. */
  readonly unmeasuredBytes: number
  /** How long the client may send nothing of its body. */
  readonly bodyIdleMs: number
}

/** Rejects with `body_too_large`, or `bad_request` if the client leaves or sends nothing for too long. */
export async function readBody(
  request: IncomingMessage,
  limits: BodyLimits,
  clock: Clock,
): Promise<ProxyBody> {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  if (length === undefined && encoding === undefined) return { kind: 'none' }
  const bytes = Number(length ?? 0)
  if (!Number.isSafeInteger(bytes)) throw new BrokerError('bad_request', 'no body has this Content-Length')
  if (encoding === undefined && bytes === 0) return { kind: 'none' }
  if (encoding === undefined && bytes > limits.bufferBytes) {
    let sent = 0
    const count = (more: number) => {
      sent += more
    }
    const open = () => openStream(request, limits.bodyIdleMs, clock, count)
    return { kind: 'stream', length: bytes, open, sent: () => sent }
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
      () => fail(timedOut()),
    )
    const onData = guarded(request, (chunk: Buffer) => {
      last = clock.monotonic()
      size += chunk.length
      chunks.push(chunk)
      if (size > most) fail(tooLarge(most))
    })
    const onEnd = guarded(request, () => {
      stop()
      const [only] = chunks
      resolve(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks))
    })
    const onGone = () => fail(clientLeft())
    const stop = () => {
      watch.cancel()
      request.off('data', onData).off('end', onEnd).off('close', onGone)
      request.resume()
    }
    request.on('data', onData).on('end', onEnd).on('close', onGone).on('error', onGone)
  })
}

function openStream(
  request: IncomingMessage,
  idleMs: number,
  clock: Clock,
  count: (more: number) => void,
): Readable {
  let last = clock.monotonic()
  // Not the request itself: its reader may destroy it before its end, and the client must still be able to read the
  // response. The rest of the body is then discarded.
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
  // Only a client that is asked for more can be idle.
  const idle = () => (request.isPaused() ? 0 : clock.monotonic() - last)
  const watch = watchIdle(clock, idleMs, idle, () => body.destroy(timedOut()))
  const onData = guarded(request, (chunk: Buffer) => {
    last = clock.monotonic()
    count(chunk.length)
    if (!body.push(chunk)) request.pause()
  })
  const onEnd = () => body.push(null)
  const onGone = () => {
    if (!request.complete) body.destroy(clientLeft())
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

function timedOut(): BrokerError {
  return new BrokerError('bad_request', 'the request body did not arrive in time')
}

function clientLeft(): BrokerError {
  return new BrokerError('bad_request', 'the client closed the connection before sending the whole body')
}

function tooLarge(most: number): BrokerError {
  const mebibytes = most / 1024 / 1024
  return new BrokerError(
    'body_too_large',
    `a body without Content-Length may have at most ${mebibytes} MiB`,
    {
      hint: 'send Content-Length',
    },
  )
}
