/** Gathers the snapshot that `status` shows, and the examinations that `doctor` runs. */
import type { Inspection } from './administration.js'
import type { Credentials } from './credentials.js'
import { type Examination, examine } from './doctor.js'
import type { LoginSessions } from './login-sessions.js'
import type { DaemonFacts, ListenerFacts } from './status.js'
import type { Vault } from './vault.js'

export interface ReportStatusDeps {
  readonly credentials: Credentials
  readonly vault: Vault
  readonly logins: LoginSessions
  readonly daemon: () => DaemonFacts
  readonly listeners: () => readonly ListenerFacts[]
  /** What a person should know that belongs to no profile. */
  readonly notices: () => readonly string[]
  readonly examinations: readonly Examination[]
}

const ENDED = ['stored', 'failed', 'cancelled', 'expired']

export function createInspection(deps: ReportStatusDeps): Inspection {
  const { credentials, vault, logins } = deps
  return {
    status: () => ({
      daemon: deps.daemon(),
      listeners: deps.listeners(),
      vault: vault.describe(),
      reading: credentials.reading(),
      active: credentials.state().resolved.name,
      profiles: credentials.states(),
      logins: logins.list().filter(({ state }) => !ENDED.includes(state)),
      notices: deps.notices(),
    }),
    doctor: () => examine(deps.examinations),
  }
}
