/** A request and its response as those who answer see them: Node's own, or those of the lane in front of it. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

/** All but the body. */
export interface RequestHead {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: readonly string[]
  readonly socket: Socket
  /** Whether all of it has come. */
  readonly complete: boolean
}

/** A request that came with its body. */
export interface WholeRequest extends RequestHead {
  readonly whole: Buffer
  /** The request before it on this connection had the very same head: `headers` is the same object. */
  readonly isKnown: boolean
}

/** An object that comes with the very same head again and again: what is found by the head alone may be kept by it. */
export function headOf(request: RequestHead | WholeRequest): object | undefined {
  return 'isKnown' in request && request.isKnown ? request.headers : undefined
}

/** A whole response; one that is sent again and again is one object. */
export interface WholeAnswer {
  readonly status: number
  /** Flat, with the length of the body. */
  readonly headers: readonly string[]
  readonly body?: string
}

export type AnyRequest = IncomingMessage | WholeRequest

/** What Node's `ServerResponse` and the lane's have in common. */
export interface Response {
  readonly destroyed: boolean
  readonly headersSent: boolean
  readonly writableFinished: boolean
  /** Bytes that wait for a slow reader. */
  readonly writableLength: number
  sendDate: boolean
  /** `headers` are flat: each name followed by its value. */
  writeHead(status: number, headers: string[]): unknown
  flushHeaders(): void
  /** What is written until `uncork` goes out together. */
  cork(): void
  uncork(): void
  /** Returns false if the caller should wait for `drain`. */
  write(piece: Buffer): boolean
  end(last?: string | Buffer, encoding?: BufferEncoding): unknown
  /** 102. */
  writeProcessing(): void
  /** 103. */
  writeEarlyHints(hints: { readonly link: string[] }): void
  addTrailers(trailers: [name: string, value: string][]): void
  /** `close` comes once: the response is out, or the client has gone. */
  on(event: 'close', listener: () => void): unknown
  once(event: 'finish' | 'drain', listener: () => void): unknown
  destroy(): unknown
}
