/** The logins that live: one per profile that N callers share, a few side by side, ended ones for ten minutes. */

import { BrokerError, shuttingDown } from '../base/errors.js'
import { verifyKey } from '../prefect/cloud.js'
import { parseApiKey } from '../prefect/key.js'
import { createSingleFlight } from '../std/async.js'
import type { Clock } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { LoginRequest, LoginSessions, LoginTarget, LoginView } from './login.js'
import { type LiveLogin, type LiveLoginDeps, openLiveLogin } from './session.js'
import { type LoginRules, later, momentOf, msUntil } from './state.js'

interface LoginPool {
  /**
   * The login that is pending for the profile, or a new one by `open`. Rejects with `too_many_requests`, `shutting_down` and
   * as `open` does.
   */
  share(
    profile: string,
    open: () => Promise<LiveLogin>,
  ): Promise<{ readonly login: LiveLogin; readonly isJoined: boolean }>
  /** Throws `login_not_found`. */
  find(id: string): LiveLogin
  /** Pending ones first. */
  all(): readonly LiveLogin[]
  /** Cancels what waits, waits for what is being stored, opens nothing more. */
  close(): Promise<void>
}

/** Each pending login holds a port. */
const MAX_PENDING = 20

const KEEP_ENDED_MS = 10 * 60_000

function createLoginPool({ clock }: { readonly clock: Clock }): LoginPool {
  const logins = new Map<string, LiveLogin>()
  const flights = createSingleFlight<LiveLogin>()
  const opening = new Set<Promise<LiveLogin>>()
  let isClosed = false

  /** Looks at every login's clocks on the way: one that nobody asked about may be over by now. */
  function split(): { readonly pending: readonly LiveLogin[]; readonly ended: readonly LiveLogin[] } {
    forgetEnded(logins, clock)
    for (const login of logins.values()) login.apply({ kind: 'time' })
    const all = [...logins.values()]
    return { pending: all.filter((one) => !one.isOver()), ended: all.filter((one) => one.isOver()) }
  }

  async function add(open: () => Promise<LiveLogin>): Promise<LiveLogin> {
    if (isClosed) throw shuttingDown()
    if (split().pending.length + opening.size >= MAX_PENDING) throw tooMany()
    const flight = open()
    opening.add(flight)
    try {
      const login = await flight
      logins.set(login.id, login)
      if (isClosed) await login.close()
      return login
    } finally {
      opening.delete(flight)
    }
  }

  return {
    async share(profile, open) {
      const running = split().pending.find((login) => login.target.profile === profile)
      const isJoined = running !== undefined || flights.isRunning(profile)
      return { login: running ?? (await flights.run(profile, () => add(open))), isJoined }
    },
    find(id) {
      forgetEnded(logins, clock)
      const login = logins.get(id)
      if (login) return login
      throw new BrokerError(
        'login_not_found',
        'there is no such login, or it ended more than ten minutes ago',
        {
          hint: 'prefect-auth login',
        },
      )
    },
    all() {
      const { pending, ended } = split()
      return [...pending, ...ended]
    },
    async close() {
      isClosed = true
      await Promise.allSettled(opening)
      await Promise.all([...logins.values()].map((login) => login.close()))
    },
  }
}

function forgetEnded(logins: Map<string, LiveLogin>, clock: Clock): void {
  const now = momentOf(clock)
  for (const [id, login] of logins) {
    const endedAt = login.endedAt()
    if (endedAt && msUntil(later(endedAt, KEEP_ENDED_MS), now) === 0) logins.delete(id)
  }
}

function tooMany(): BrokerError {
  return new BrokerError('too_many_requests', `${MAX_PENDING} logins are waiting already`, {
    hint: 'finish or cancel one: prefect-auth status',
  })
}

interface LoginPolicy {
  /** How long a login waits for a key, in milliseconds. */
  readonly timeoutMs: number
  /** How long it then waits for a yes, in milliseconds. */
  readonly confirmMs: number
  /** Puts 256 bits into the callback's path; experimental. */
  readonly stateInPath: boolean
}

interface LoginSessionsDeps extends LiveLoginDeps {
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
      const key = parseApiKey(text.reveal()) // what a person pasted is cleaned
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
      ...defined({ wanted }),
      maySwitch: request.switchOwner === true,
    },
    workspace: {
      ...defined({ wanted: workspace, currentId }),
    },
    timeoutMs: policy.timeoutMs,
    confirmMs: policy.confirmMs,
  }
}

function take(refusal: BrokerError | undefined): void {
  if (refusal) throw refusal
}

/** Resolves with the view once its version is no longer `version`, after `ms`, or on abort. Never rejects. */
function waitForLogin({
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
