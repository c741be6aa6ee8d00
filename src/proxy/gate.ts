/** The gate before a write: where a request waits until its owner has said yes. What the proxy knows of questions. */
import { isBrokerError } from '../base/errors.js'
import type { RequestHead } from '../http/request.js'
import type { Visit } from './admission.js'
import type { ProxyBody } from './body.js'
import { isParked } from './parking.js'

export interface Gate {
  /** Whether the request may have to wait: then its body is read whole. */
  concerns(request: RequestHead, visit: Visit): boolean
  /**
   * Returns if the request may be sent. Throws `ask_waiting` to park it, `ask_refused`, `too_many_requests`, and `bad_request`
   * for a body that nobody could look at.
   */
  pass(request: RequestHead, visit: Visit, body: ProxyBody): Pass
  /**
   * For a handshake, which cannot wait: throws `bad_request` if the request would have to, unless it opens a WebSocket that Prefect
   * has. Anything else Prefect would answer as a plain request.
   */
  requireSocket(request: RequestHead, visit: Visit): void
}

/** What a request has used up. */
export interface Pass {
  /** Whether the owner was asked, and has said yes. */
  readonly hasYes: boolean
  /** Prefect has not had the request: its yes still counts, and its budget. */
  giveBack(): void
  /** Prefect has had it. */
  sent?(): void
}

/** Gives back what was used up if `send` fails with what parks the client, which will then send the same request again. */
export async function sendUnder(pass: Pass, send: () => Promise<void>): Promise<void> {
  try {
    await send()
    pass.sent?.()
  } catch (error) {
    if (isBrokerError(error) && isParked(error)) pass.giveBack()
    throw error
  }
}
