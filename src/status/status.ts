/** The snapshot that `status` shows, and the checks that `doctor` runs. */

import type { RecogniserState } from '../http/lane/recogniser.js'
import type { LoginSessions, LoginView } from '../login/login.js'
import type { ProfileReading } from '../profiles/profile.js'
import type { RenewalAdmin } from '../renewal/renewal.js'
import type { RenewalView } from '../renewal/view.js'
import type { Credentials, ProfileState } from '../serve/credentials.js'
import type { ListenerFacts } from '../tokens/access.js'
import type { Vault, VaultDescription } from '../vault/vault.js'
import { type DoctorQuestion, type Examination, examine, viewRenewals } from './doctor.js'
import type { Check } from './listeners.js'

export interface DaemonFacts {
  readonly version: string
  readonly pid: number
  /** Epoch ms. */
  readonly startedAt: number
  readonly node: string
  /** Whether plain requests are read without Node's parser. */
  readonly recogniser: RecogniserState
  readonly stateDir: string
  readonly configFile?: string
  /** A command started it, where no service manager does. */
  readonly isOnDemand?: boolean
  readonly logLevel: string
}

export interface StatusSnapshot {
  readonly daemon: DaemonFacts
  readonly listeners: readonly ListenerFacts[]
  readonly vault: VaultDescription
  readonly reading: ProfileReading
  readonly active: string
  readonly profiles: readonly ProfileState[]
  /** By profile; only profiles that we hold a key for. */
  readonly renewals: ReadonlyMap<string, RenewalView>
  readonly logins: readonly LoginView[]
  /** What the owner should know; the trouble of the state disk is among it. */
  readonly notices: readonly string[]
}

export interface Inspection {
  /** Why the state on the disk is behind what is served. */
  trouble(): Trouble | undefined
  status(): StatusSnapshot
  /** A check that fails is `unknown`. Rejects with `bad_request` for a check that there is not. */
  doctor(question?: DoctorQuestion): Promise<readonly Check[]>
}

interface Trouble {
  readonly message: string
  readonly hint?: string | undefined
}

interface InspectionParts {
  readonly trouble: () => Trouble | undefined
  readonly credentials: Credentials
  readonly vault: Vault
  readonly logins: LoginSessions
  readonly daemon: () => DaemonFacts
  readonly listeners: () => readonly ListenerFacts[]
  /** Messages for a person that are not about a profile. */
  readonly notices: () => readonly string[]
  readonly examinations: readonly Examination[]
  readonly renewal: Pick<RenewalAdmin, 'view'>
}

const ENDED = ['stored', 'failed', 'cancelled', 'expired']

export function createInspection({
  credentials,
  vault,
  logins,
  daemon,
  listeners,
  notices,
  trouble,
  examinations,
  renewal,
}: InspectionParts): Inspection {
  return {
    trouble,
    status() {
      const profiles = credentials.states()
      return {
        daemon: daemon(),
        listeners: listeners(),
        vault: vault.describe(),
        reading: credentials.reading(),
        active: credentials.state().resolved.name,
        profiles,
        renewals: new Map(viewRenewals(profiles, renewal)),
        logins: logins.list().filter(({ state }) => !ENDED.includes(state)),
        notices: [...degraded(trouble()), ...notices()],
      }
    },
    doctor: (question) => examine(examinations, question),
  }
}

function degraded(trouble: Trouble | undefined): readonly string[] {
  if (trouble === undefined) return []
  const { message, hint = 'prefect-auth doctor' } = trouble
  return [`${message}; what memory has is served, and will be written once it can be (${hint})`]
}
