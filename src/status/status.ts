/** Gathers the snapshot that `status` shows, and the examinations that `doctor` runs. */
import type { Inspection } from '../admin/profiles.js'
import type { LoginSessions } from '../login/login.js'
import type { RenewalAdmin, RenewalView } from '../renewal/view.js'
import type { Credentials } from '../serve/credentials.js'
import type { Vault } from '../vault/vault.js'
import { type Examination, examine } from './doctor-part.js'
import type { DaemonFacts, ListenerFacts } from './status-part.js'

export interface ReportStatusDeps {
  readonly credentials: Credentials
  readonly vault: Vault
  readonly logins: LoginSessions
  readonly daemon: () => DaemonFacts
  readonly listeners: () => readonly ListenerFacts[]
  /** What a person should know that belongs to no profile. */
  readonly notices: () => readonly string[]
  readonly examinations: readonly Examination[]
  readonly renewal: Pick<RenewalAdmin, 'view'>
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
      renewals: new Map(credentials.states().flatMap(({ resolved: { name } }) => renewalOf(deps, name))),
      logins: logins.list().filter(({ state }) => !ENDED.includes(state)),
      notices: deps.notices(),
    }),
    doctor: () => examine(deps.examinations),
  }
}

function renewalOf({ renewal }: ReportStatusDeps, name: string): [string, RenewalView][] {
  const view = renewal.view(name)
  return view === undefined ? [] : [[name, view]]
}
