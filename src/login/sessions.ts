/** The logins of the daemon: one pending per profile that callers share; ended ones are kept for ten minutes. */

import { BrokerError, shuttingDown } from '../base/errors.js'
import type { Document } from '../os/document.js'
import { createSingleFlight } from '../std/async.js'
import { MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { OpenCallback } from './callback.js'
import type { LoginRequest, LoginSessions } from './login.js'
import { createLoginPorts, type PortList } from './ports.js'
import { type LoginParts, type LoginSession, openLoginSession } from './session.js'
import { type LoginRules, later, momentOf, msUntil } from './state.js'
import type { LoginTarget } from './target.js'

interface LoginPolicy {
  /** How long a login waits for a key, in milliseconds. */
  readonly timeoutMs: number
  /** How long it then waits for a confirmation, in milliseconds. */
  readonly confirmMs: number
  /** Puts 256 bits into the callback's path; experimental. */
  readonly stateInPath: boolean
}

interface LoginSources {
  /** Unique, not secret. */
  readonly newId: () => string
  /** 256 bits as base64url, for the callback's path. */
  readonly newState: () => string
  /** The profile a login is for: the one named, else the active one. */
  readonly target: (profile?: string) => Promise<LoginTarget>
  readonly policy: LoginPolicy
  readonly openCallback: OpenCallback
  /** The ports that the next start binds again. */
  readonly ports: Document<PortList>
}

/** Each pending login holds a port. */
const MAX_PENDING = 20

const KEEP_ENDED_MS = 10 * MINUTE_MS

export function createLoginSessions({
  newId,
  newState,
  target: findTarget,
  policy,
  openCallback,
  ports: document,
  ...others
}: LoginSources & Omit<LoginParts, 'ports'>): LoginSessions {
  const { clock, log, events } = others
  const logins = new Map<string, LoginSession>()
  const flights = createSingleFlight<LoginSession>()
  const opening = new Set<Promise<LoginSession>>()
  let isClosed = false
  const ports = createLoginPorts({
    document,
    openCallback,
    clock,
    log,
    pendingMs: policy.timeoutMs + policy.confirmMs,
    onLate(profile, { port, isOver }) {
      if (isOver) events.emit('login.late_key', { profile, facts: { port } })
      for (const login of logins.values()) if (login.profile === profile) void login.takeLate()
    },
  })
  const parts: LoginParts = { ...others, ports }

  function forgetEnded(): void {
    const now = momentOf(clock)
    for (const [id, login] of logins) {
      const endedAt = login.endedAt()
      if (endedAt && msUntil(later(endedAt, KEEP_ENDED_MS), now) === 0) logins.delete(id)
    }
  }

  function split(): { readonly pending: readonly LoginSession[]; readonly ended: readonly LoginSession[] } {
    forgetEnded()
    // A login that nobody has looked at may have expired by now.
    for (const login of logins.values()) login.apply({ kind: 'time' })
    const all = [...logins.values()]
    return { pending: all.filter((one) => !one.isOver()), ended: all.filter((one) => one.isOver()) }
  }

  function find(id: string): LoginSession {
    forgetEnded()
    const login = logins.get(id)
    if (login) return login
    throw new BrokerError('login_not_found', 'no such login, or it ended more than ten minutes ago', {
      hint: 'prefect-auth login',
    })
  }

  async function open(target: LoginTarget, request: LoginRequest): Promise<LoginSession> {
    if (isClosed) throw shuttingDown()
    if (split().pending.length + opening.size >= MAX_PENDING) throw tooMany()
    const flight = openLoginSession(parts, {
      id: newId(),
      target,
      rules: rulesFor(target, request, policy),
      ...defined({ wantedPort: request.port }),
      ...defined({ pathState: policy.stateInPath ? newState() : undefined }),
    })
    opening.add(flight)
    try {
      const login = await flight
      logins.set(login.id, login)
      if (isClosed) await login.close()
      void login.takeLate()
      return login
    } finally {
      opening.delete(flight)
    }
  }

  return {
    async begin(request) {
      const target = await findTarget(request.profile)
      const { profile } = target
      const running = split().pending.find((login) => login.profile === profile)
      const isJoined = running !== undefined || flights.isRunning(profile)
      const login = running ?? (await flights.run(profile, () => open(target, request)))
      if (isJoined) login.apply({ kind: 'joined', request })
      return { login: login.view(), isJoined }
    },
    get: (id) => find(id).view(),
    list() {
      const { pending, ended } = split()
      return [...pending, ...ended].map((login) => login.view())
    },
    waitForChange: async (id, version, ms, signal) => find(id).waitForChange(version, ms, signal),
    async submitKey(id, text, { exchange }) {
      const login = find(id)
      await login.submitKey(text, exchange)
      return login.view()
    },
    async submitAddress(id, text) {
      const login = find(id)
      await login.submitAddress(text)
      return login.view()
    },
    async confirm(id, answer) {
      const login = find(id)
      const refusal = login.apply({ kind: 'answered', ...answer })
      if (refusal) throw refusal
      return login.view()
    },
    async cancel(id) {
      const login = find(id)
      const refusal = login.apply({ kind: 'cancelled' })
      if (refusal) throw refusal
      await login.close()
      return login.view()
    },
    ports: ports.kept,
    resume: ports.resume,
    async close() {
      isClosed = true
      await Promise.allSettled(opening)
      await Promise.all([...logins.values()].map((login) => login.close()))
      await ports.close()
    },
  }
}

function tooMany(): BrokerError {
  return new BrokerError('too_many_requests', `${MAX_PENDING} logins are already pending`, {
    hint: 'finish or cancel one; check: prefect-auth status',
  })
}

function rulesFor(target: LoginTarget, request: LoginRequest, policy: LoginPolicy): LoginRules {
  const { profile, owner: stored, workspaceId: currentId } = target
  const { owner: wanted, workspace, switchOwner = false } = request
  return {
    profile,
    owner: { profile, maySwitch: switchOwner, ...defined({ stored, wanted }) },
    workspace: defined({ wanted: workspace, currentId }),
    timeoutMs: policy.timeoutMs,
    confirmMs: policy.confirmMs,
  }
}
