/** What a test can change while the simulator runs. */

import type { User } from '../api/rows.js'
import type { Directory } from '../directory.js'
import type { KeyStore } from '../keys.js'
import type { Gate } from '../server/gate.js'
import type { Simulator, SimulatorOptions } from '../simulator-types.js'

type Controls = Pick<
  Simulator,
  | 'issueKey'
  | 'issueBotKey'
  | 'signIn'
  | 'forbid'
  | 'limit'
  | 'allowMinting'
  | 'useBackend'
  | 'ageServiceAccounts'
  | 'keepOnePrevious'
  | 'grantOverlap'
>

/** Who is signed in, which server is behind the workspaces, whether keys may be minted. */
interface Switches {
  user(): User
  signIn(user: User): void
  backend(): string | undefined
  useBackend(url: string | undefined): void
  minting(): boolean
  allowMinting(allowed: boolean): void
  serviceAccountAge(): number
  ageServiceAccounts(ms: () => number): void
  keepsOnePrevious(): boolean
  keepOnePrevious(isSo: boolean): void
  grantedOverlap(): number
  grantOverlap(part: number): void
}

export function createSwitches(options: SimulatorOptions, directory: Directory): Switches {
  let backend = options.workspaceBackend
  let minting = true
  let age = () => 0
  let onePrevious = false
  let granted = 1
  let [signedIn] = directory.users.values()
  if (options.signedIn !== undefined) signedIn = directory.user(options.signedIn)
  return {
    user() {
      if (signedIn === undefined) throw new Error('the simulator has no users')
      return signedIn
    },
    signIn(user) {
      signedIn = user
    },
    backend: () => backend,
    useBackend(url) {
      backend = url
    },
    minting: () => minting,
    allowMinting(allowed) {
      minting = allowed
    },
    serviceAccountAge: () => age(),
    ageServiceAccounts(ms) {
      age = ms
    },
    keepsOnePrevious: () => onePrevious,
    keepOnePrevious(isSo) {
      onePrevious = isSo
    },
    grantedOverlap: () => granted,
    grantOverlap(part) {
      granted = part
    },
  }
}

export function createControls(parts: {
  readonly directory: Directory
  readonly keys: KeyStore
  readonly gate: Gate
  readonly switches: Switches
}): Controls {
  const { directory, keys, gate, switches } = parts
  return {
    issueKey({ user, name = 'test key', ...end } = {}) {
      const ownerId = (user === undefined ? switches.user() : directory.user(user)).id
      return keys.issue({ ownerId, prefix: 'pnu_', name, ...end }).text
    },
    issueBotKey({ bot, ...end }) {
      const { id: ownerId, name } = directory.bot(bot)
      return keys.issue({ ownerId, prefix: 'pnb_', name, ...end }).text
    },
    signIn: (handle) => switches.signIn(directory.user(handle)),
    forbid: gate.forbid,
    limit: gate.limit,
    allowMinting: switches.allowMinting,
    useBackend: switches.useBackend,
    ageServiceAccounts: switches.ageServiceAccounts,
    keepOnePrevious: switches.keepOnePrevious,
    grantOverlap: switches.grantOverlap,
  }
}
