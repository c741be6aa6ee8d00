/** The calls of a login, and the wait for its next change. */
import { type LoginBody, type LoginView, loginView } from '../wire/login.js'
import { type Caller, understand } from './call.js'
import type { SocketRequest } from './transport.js'

/** A login as of now, with what a long poll needs to wait for the next change. */
export interface LoginSnapshot {
  readonly view: LoginView
  readonly etag: string | undefined
}

const POLL_S = 60

export function createLoginCalls({ ask }: Caller) {
  const step = async (request: SocketRequest): Promise<LoginSnapshot> => {
    const answer = await ask(request)
    return { view: understand(loginView, answer), etag: answer.etag }
  }
  return {
    /** `isJoined`: somebody else's login for the same profile was under way, and this is it. */
    beginLogin: async (body: LoginBody) => {
      const answer = await ask({ method: 'POST', path: '/v1/logins', body })
      return { view: understand(loginView, answer), etag: answer.etag, isJoined: answer.status === 200 }
    },
    /** Resolves when the login has changed since `since`. */
    async waitForLogin({ view, etag }: LoginSnapshot, signal: AbortSignal): Promise<LoginSnapshot> {
      for (;;) {
        const answer = await ask({
          method: 'GET',
          path: loginPath(view.id),
          headers: { prefer: `wait=${POLL_S}`, ...(etag === undefined ? {} : { 'if-none-match': etag }) },
          timeoutMs: (POLL_S + 30) * 1000,
          signal,
        })
        if (answer.status === 304) continue
        const next = understand(loginView, answer)
        if (next.version !== view.version) return { view: next, etag: answer.etag }
      }
    },
    submitKey: (id: string, body: { readonly api_key: string; readonly exchange?: boolean }) =>
      step({ method: 'POST', path: `${loginPath(id)}/key`, body }),
    confirmLogin: (id: string, body: { readonly accept: boolean; readonly workspace?: string }) =>
      step({ method: 'POST', path: `${loginPath(id)}/confirm`, body }),
    cancelLogin: (id: string) => step({ method: 'DELETE', path: loginPath(id) }),
  }
}

function loginPath(id: string): string {
  return `/v1/logins/${encodeURIComponent(id)}`
}
