/** Gathers the snapshot that `status` shows, and the examinations that `doctor` runs. */
import type { LoginSessions, LoginView } from '../login/login.js'
import type { ProfileReading } from '../profiles/profile.js'
import type { RenewalAdmin } from '../renewal/renewal.js'
import type { RenewalView } from '../renewal/view.js'
import type { Credentials, ProfileState } from '../serve/credentials.js'
import type { ListenerFacts } from '../tokens/access.js'
import type { Vault, VaultDescription } from '../vault/vault.js'
import { type Check, type Examination, examine } from './doctor.js'

export interface DaemonFacts {
  readonly version: string
  readonly pid: number
  /** Epoch ms. */
  readonly startedAt: number
  readonly node: string
  readonly stateDir: string
  readonly configFile?: string
  readonly logLevel: string
}

export interface StatusSnapshot {
  readonly daemon: DaemonFacts
  readonly listeners: readonly ListenerFacts[]
  readonly vault: VaultDescription
  readonly reading: ProfileReading
  readonly active: string
  readonly profiles: readonly ProfileState[]
  /** By profile; none where we hold no key. */
  readonly renewals: ReadonlyMap<string, RenewalView>
  readonly logins: readonly LoginView[]
  readonly notices: readonly string[]
}

interface ReportStatusDeps {
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
export interface Inspection {
  status(): StatusSnapshot
  doctor(): Promise<readonly Check[]>
}
