/** Waits for a login to change: what `Prefer: wait` and the command line stand on. */
import type { Clock } from '../std/clock.js'
import type { LoginView } from './login.js'
import type { LiveLogin } from './session.js'

/** Resolves with the view once its version is no longer `version`, after `ms`, or on abort. Never rejects. */
export function waitForLogin({
  login,
  clock,
  version,
  ms,
  signal,
}: {
  readonly login: LiveLogin
  readonly clock: Clock
  readonly version: number
  readonly ms: number
  readonly signal: AbortSignal
}): Promise<LoginView> {
  const view = login.view()
  // Nothing changes after the end: waiting there would only be waiting.
  if (view.version !== version || login.isOver() || signal.aborted || ms <= 0) return Promise.resolve(view)
  return new Promise((resolve) => {
    const finish = () => {
      timer.cancel()
      forget()
      signal.removeEventListener('abort', finish)
      resolve(login.view())
    }
    const timer = clock.after(ms, finish)
    const forget = login.onChange(finish)
    signal.addEventListener('abort', finish, { once: true })
  })
}
