/** The logins that live: one per profile that N callers share, a few side by side, ended ones for ten minutes. */

import { BrokerError } from '../base/errors.js'
import { createSingleFlight } from '../std/async.js'
import type { Clock } from '../std/clock.js'
import { later, momentOf, msUntil } from './login-moment.js'
import type { LiveLogin } from './session.js'

export interface LoginPool {
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

export function createLoginPool({ clock }: { readonly clock: Clock }): LoginPool {
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
    if (isClosed) throw new BrokerError('shutting_down', 'starting a login failed: the daemon is stopping')
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
