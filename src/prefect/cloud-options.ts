/** What a call to Prefect Cloud is told, and what all of them are. */
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { TlsSettings } from './agent.js'
import type { CloudRequest } from './exchange.js'
import type { ProxySettings } from './way-out.js'

/** Milliseconds. */
export interface CloudTimeouts {
  readonly connectMs: number
  /** From the request to the head of the answer. */
  readonly headersMs: number
  /** Between two pieces of the answer. */
  readonly bodyMs: number
  /** The whole call with all its tries and waits. */
  readonly totalMs: number
}

export interface CallOptions {
  readonly clock: Clock
  readonly log: Log
  /** In [0, 1). */
  readonly random: () => number
  readonly tls: TlsSettings
  readonly proxy: ProxySettings
  readonly timeouts?: Partial<CloudTimeouts>
  /** For every answer with a `Date`: the server's time and ours when it came, epoch ms. */
  readonly onServerDate?: (serverAt: number, receivedAt: number) => void
  readonly userAgent: string
}

export interface CloudCall {
  readonly method: CloudRequest['method']
  readonly path: string
  /** Completes "could not …". */
  readonly purpose: string
  readonly body?: string
  /** Statuses that are an answer to this call although they are no success. */
  readonly accept?: readonly number[]
}
