/** The listener that one login's browser calls back: opened before the URL exists, gone when the login is. */
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { setImmediate } from 'node:timers/promises'
import { buildCallbackApp } from './callback.js'
import type { CallbackRequest, LoginCallback } from './login-callback.js'
import { openLoopbackPair } from './loopback.js'

export interface CallbackTuning {
  /** Until a whole request must be here, in milliseconds. */
  readonly requestTimeoutMs?: number
  /** The port to try; 0 for any free one. */
  readonly pickPort?: () => number
}

/** An `OpenCallback`: listens at `http://localhost:PORT`. Rejects with `login_port_unavailable`. */
export async function openLoginCallback(
  request: CallbackRequest,
  { requestTimeoutMs = 5_000, pickPort = () => 0 }: CallbackTuning = {},
): Promise<LoginCallback> {
  const { uiOrigin, state } = request
  const hosts = new Set<string>()
  const answering = new Set<ServerResponse>()
  const app = await buildCallbackApp(request, { hosts, uiOrigin, ...(state === undefined ? {} : { state }) })
  const pair = await openLoopbackPair({
    requestTimeoutMs,
    pickPort,
    handle(incoming, outgoing) {
      answering.add(outgoing)
      outgoing.once('close', () => answering.delete(outgoing))
      app.routing(incoming, outgoing)
    },
  })
  for (const name of ['localhost', '127.0.0.1', '[::1]']) hosts.add(`${name}:${pair.port}`)
  let closing: Promise<void> | undefined

  async function close(): Promise<void> {
    await finishAnswers(answering)
    await pair.close()
    await app.close()
  }

  return {
    callbackUrl: `http://localhost:${pair.port}${state === undefined ? '' : `/${state}`}`,
    port: pair.port,
    close() {
      closing ??= close()
      return closing
    },
  }
}

/** A delivery may end the login: its own answer still goes out. Requests that are not answered yet are cut off. */
async function finishAnswers(answering: ReadonlySet<ServerResponse>): Promise<void> {
  await setImmediate()
  const unsent = [...answering].filter(({ writableEnded, closed }) => writableEnded && !closed)
  await Promise.all(unsent.map((answer) => once(answer, 'close')))
}
