/** The time between a WebSocket's handshake and its first message: nothing of the client's reaches Prefect unread. */
import type { Clock } from '../std/clock.js'
import type { ProxyLimits } from './deps.js'
import type { FirstMessage } from './frames.js'
import { closeFrame, readFrame } from './frames-part.js'
import { type Pair, splice } from './splice.js'

export interface Waiting {
  readonly pair: Pair
  readonly first: FirstMessage
  readonly head: Buffer
  readonly isStranger: boolean
  readonly closed: () => void
}

/** Until the first message is here, whole frames pass downwards, so that a refusal can be said between two of them. */
export function awaitFirst(
  { pair, first, head, isStranger, closed }: Waiting,
  { clock, limits }: { readonly clock: Clock; readonly limits: ProxyLimits },
): void {
  const { client, upstream } = pair
  let down: Buffer = Buffer.alloc(0)
  const stop = () => {
    late?.cancel()
    client.off('data', onUp).off('close', onGone).off('end', onGone).off('error', onGone)
    upstream.off('data', onDown).off('close', onEnd).off('end', onEnd).off('error', onEnd)
    upstream.off('drain', onDrain)
  }
  const end = (last?: Buffer) => {
    stop()
    client.on('error', () => undefined)
    upstream.on('error', () => undefined).destroy()
    if (last === undefined) client.destroy()
    else client.end(last, () => client.destroy())
    closed()
  }
  const refuse = (code: number, reason: string) => end(closeFrame(code, reason))
  const onGone = () => end()
  const onEnd = () => end(down)
  const onUp = (chunk: Buffer) => {
    const progress = first.push(chunk)
    if (progress.kind === 'refused') return refuse(progress.code, progress.reason)
    const isTaken = progress.forward.length === 0 || upstream.write(progress.forward)
    if (progress.kind === 'waiting') {
      // Pings for an upstream that does not read them are not ours to keep.
      if (!isTaken) client.pause()
      return
    }
    stop()
    client.pause()
    upstream.pause()
    if (down.length > 0) client.write(down)
    splice(client, upstream, clock, closed)
  }
  const onDrain = () => client.resume()
  const onDown = (chunk: Buffer) => {
    down = Buffer.concat([down, chunk])
    for (let reading = readFrame(down, limits.bufferBytes); reading.kind !== 'incomplete'; ) {
      if (reading.kind === 'large') return end(down)
      client.write(reading.frame.bytes)
      down = reading.rest
      reading = readFrame(down, limits.bufferBytes)
    }
  }
  const late = isStranger
    ? clock.after(limits.firstFrameMs, () => refuse(1008, 'no token was shown'))
    : undefined
  client.on('close', onGone).on('end', onGone).on('error', onGone)
  upstream.on('data', onDown).on('close', onEnd).on('end', onEnd).on('error', onEnd)
  upstream.on('drain', onDrain)
  client.on('data', onUp).resume()
  if (head.length > 0) onUp(head)
}
