/** Request bodies: small ones are read whole, so that they can be sent again; large ones are streamed. */
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { BrokerError } from '../base/errors.js'
import { guarded } from '../http/guarded.js'
import type { AnyRequest } from '../http/request.js'
import type { Deadlines } from '../std/deadlines.js'
import type { Purse } from './budget.js'

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
  /** Until a body that is read whole is complete. */
  readonly wholeMs: number
  /** What all bodies that are under way may keep in memory, and those of one caller. */
  readonly keptBytes: number
  readonly keptPerCaller: number
}

/** What a streamed body may keep in memory while the upstream does not read. */
const STREAM_BYTES = 128 * 1024

/**
 * Rejects with `body_too_large`, `too_many_requests`, or `bad_request` if the client leaves or is too slow. What is kept in
 * memory is taken from `purse`, which is closed by whoever opened it. `isWhole`: it is never streamed, however large. `sweep`
 * is called with the length of each piece that is streamed.
 */
export async function readBody(
  request: AnyRequest,
  limits: BodyLimits,
  deadlines: Deadlines,
  purse: Purse,
  { isWhole = false, sweep }: { readonly isWhole?: boolean; readonly sweep?: (bytes: number) => void } = {},
): Promise<ProxyBody> {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  if (length === undefined && encoding === undefined) return { kind: 'none' }
  const bytes = Number(length ?? 0)
  if (!Number.isSafeInteger(bytes)) throw new BrokerError('bad_request', 'no body has this Content-Length')
  if (encoding === undefined && bytes === 0) return { kind: 'none' }
  if (isWhole && bytes > limits.unmeasuredBytes) throw tooLargeToRead(limits.unmeasuredBytes)
  if ('whole' in request) {
    purse.take(bytes)
    return { kind: 'whole', bytes: request.whole }
  }
  if (encoding === undefined && bytes > limits.bufferBytes && !isWhole) {
    purse.take(STREAM_BYTES)
    let sent = 0
    const count = (more: number) => {
      sent += more
      sweep?.(more)
    }
    const open = () => openStream(request, limits.bodyIdleMs, deadlines, count)
    return { kind: 'stream', length: bytes, open, sent: () => sent }
  }
  // Node hands over the head alone; a small body that came with it is here a moment later, and needs no waiting for.
  await undefined
  const here = encoding === undefined ? takeWhole(request, bytes, purse) : undefined
  if (here !== undefined) return { kind: 'whole', bytes: here }
  const most = encoding === undefined && !isWhole ? limits.bufferBytes : limits.unmeasuredBytes
  const flaw = isWhole ? tooLargeToRead : tooLarge
  return { kind: 'whole', bytes: await readWhole(request, { most, flaw }, limits, deadlines, purse) }
}

/** The body, if all of it has come already. */
function takeWhole(request: IncomingMessage, length: number, purse: Purse): Buffer | undefined {
  if (request.readableLength !== length) return undefined
  purse.take(length)
  const bytes: unknown = request.read()
  // To its end, without which Node would keep the request.
  request.resume()
  return Buffer.isBuffer(bytes) ? bytes : undefined
}

function readWhole(
  request: IncomingMessage,
  { most, flaw }: { readonly most: number; readonly flaw: (most: number) => BrokerError },
  { bodyIdleMs, wholeMs }: BodyLimits,
  deadlines: Deadlines,
  purse: Purse,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const collected = createCollector(purse)
    const begun = deadlines.now()
    let last = begun
    const fail = (error: unknown) => {
      stop()
      reject(error)
    }
    const late = deadlines.add(
      // A body that drips is never idle.
      (now) => Math.min(last + bodyIdleMs, begun + wholeMs) - now,
      () => fail(timedOut()),
    )
    const onData = guarded(request, (chunk: Buffer) => {
      last = deadlines.now()
      try {
        collected.add(chunk)
      } catch (error) {
        return fail(error)
      }
      if (collected.size() > most) fail(flaw(most))
    })
    const onEnd = guarded(request, () => {
      stop()
      resolve(collected.bytes())
    })
    const onGone = () => fail(clientLeft())
    const stop = () => {
      late.cancel()
      request.off('data', onData).off('end', onEnd).off('close', onGone)
      request.resume()
    }
    request.on('data', onData).on('end', onEnd).on('close', onGone).on('error', onGone)
  })
}

/** Many small pieces cost far more memory than their bytes, so they are joined; most bodies are one piece. */
function createCollector(purse: Purse) {
  let only: Buffer | undefined
  let joined: Buffer = Buffer.alloc(0)
  let size = 0
  const append = (chunk: Buffer) => {
    if (size + chunk.length > joined.length) {
      const room = Math.max(joined.length * 2, size + chunk.length, 4 * 1024)
      purse.take(room - joined.length)
      const larger = Buffer.alloc(room)
      joined.copy(larger, 0, 0, size)
      joined = larger
    }
    chunk.copy(joined, size)
    size += chunk.length
  }
  return {
    /** Throws `too_many_requests`. */
    add(chunk: Buffer) {
      if (only === undefined && size === 0) {
        purse.take(chunk.length)
        only = chunk
        return
      }
      if (only !== undefined) append(only)
      only = undefined
      append(chunk)
    },
    size: () => only?.length ?? size,
    bytes: () => only ?? joined.subarray(0, size),
  }
}

function openStream(
  request: IncomingMessage,
  idleMs: number,
  deadlines: Deadlines,
  count: (more: number) => void,
): Readable {
  let last = deadlines.now()
  // Not the request itself: its reader may destroy it before its end, and the client must still be able to read the
  // response. The rest of the body is then discarded.
  const body = new Readable({
    highWaterMark: STREAM_BYTES,
    read() {
      last = deadlines.now()
      request.resume()
    },
    destroy(error, done) {
      late.cancel()
      request.off('data', onData).off('end', onEnd).off('close', onGone)
      request.resume()
      done(error)
    },
  })
  const late = deadlines.add(
    // Only a client that is asked for more can be idle.
    (now) => (request.isPaused() ? idleMs : last + idleMs - now),
    () => body.destroy(timedOut()),
  )
  const onData = guarded(request, (chunk: Buffer) => {
    last = deadlines.now()
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

function tooLargeToRead(most: number): BrokerError {
  return new BrokerError(
    'body_too_large',
    `this body has to be read before it is sent, and may have at most ${most / 1024 / 1024} MiB`,
    { hint: 'prefect-auth token ls      (a token with the policy all and without --ask has no such limit)' },
  )
}
