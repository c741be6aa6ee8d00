/** The logins as callers use them: begin or join, look, wait, give a key, answer, cancel. */
import type { BrokerError } from '../base/errors.js'
import { verifyKey } from '../prefect/cloud.js'
import { parseApiKey } from '../prefect/key.js'
import type { LoginRequest, LoginSessions } from './login.js'
import type { LoginTarget } from './login-delivery.js'
import { type LiveLogin, type LiveLoginDeps, openLiveLogin } from './session.js'
import { createLoginPool } from './sessions.js'
import type { LoginRules } from './state.js'
import { waitForLogin } from './wait-for-login.js'

export interface LoginPolicy {
  /** How long a login waits for a key, in milliseconds. */
  readonly timeoutMs: number
  /** How long it then waits for a yes, in milliseconds. */
  readonly confirmMs: number
  /** Puts 256 bits into the callback's path; experimental. */
  readonly stateInPath: boolean
}

export interface LoginSessionsDeps extends LiveLoginDeps {
  /** Unique, not secret. */
  readonly newId: () => string
  /** 256 bits as base64url, for the callback's path. */
  readonly newState: () => string
  /** The profile a login is for: the one named, else the active one. */
  readonly target: (profile?: string) => Promise<LoginTarget>
  readonly policy: LoginPolicy
}

export function createLoginSessions(deps: LoginSessionsDeps): LoginSessions {
  const { clock, cloud, newId, newState, policy } = deps
  const pool = createLoginPool({ clock })

  function open(target: LoginTarget, request: LoginRequest): Promise<LiveLogin> {
    const state = policy.stateInPath ? { state: newState() } : {}
    return openLiveLogin(deps, { id: newId(), target, rules: rulesFor(target, request, policy), ...state })
  }

  return {
    async begin(request) {
      const target = await deps.target(request.profile)
      const { login, isJoined } = await pool.share(target.profile, () => open(target, request))
      if (isJoined) login.apply({ kind: 'joined', request })
      return { login: login.view(), isJoined }
    },
    get: (id) => pool.find(id).view(),
    list: () => pool.all().map((login) => login.view()),
    waitForChange: async (id, version, ms, signal) =>
      waitForLogin({ login: pool.find(id), clock, version, ms, signal }),
    async submitKey(id, text, { exchange }) {
      const login = pool.find(id)
      const key = parseApiKey(text.reveal())
      take(login.refusal())
      const found = await verifyKey(cloud, { cloudApiUrl: login.target.cloudApiUrl, key })
      take(login.apply({ kind: 'typed', key, exchange, ...found }))
      return login.view()
    },
    async confirm(id, answer) {
      const login = pool.find(id)
      take(login.apply({ kind: 'answered', ...answer }))
      return login.view()
    },
    async cancel(id) {
      const login = pool.find(id)
      take(login.apply({ kind: 'cancelled' }))
      await login.close()
      return login.view()
    },
    close: () => pool.close(),
  }
}

function rulesFor(target: LoginTarget, request: LoginRequest, policy: LoginPolicy): LoginRules {
  const { profile, owner: stored, workspaceId: currentId } = target
  const { owner: wanted, workspace } = request
  return {
    profile,
    owner: {
      profile,
      ...(stored ? { stored } : {}),
      ...(wanted === undefined ? {} : { wanted }),
      maySwitch: request.switchOwner === true,
    },
    workspace: {
      ...(workspace === undefined ? {} : { wanted: workspace }),
      ...(currentId === undefined ? {} : { currentId }),
    },
    timeoutMs: policy.timeoutMs,
    confirmMs: policy.confirmMs,
  }
}

function take(refusal: BrokerError | undefined): void {
  if (refusal) throw refusal
}
