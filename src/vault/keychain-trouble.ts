/** Pure: what a keychain that does not answer comes to, in words that a person can act on. */
import type { BrokerError, ErrorCode } from '../base/errors.js'

/** How the keychain is, before it is asked for anything. */
export type KeychainState =
  | 'ready'
  | 'locked'
  /** No D-Bus session bus: a login over ssh, a container, a cron job. */
  | 'no_bus'
  /** A bus, but no keyring daemon behind it. */
  | 'no_provider'
  /** A daemon that has no default keyring yet. */
  | 'no_keyring'
  | 'timed_out'
  /** Something else; `detail` says what. */
  | 'failed'

export interface KeychainFinding {
  readonly state: KeychainState
  readonly detail: string
}

/** Looks at the keychain without ever causing a prompt. Never rejects. */
export type Preflight = () => Promise<KeychainFinding>

export interface KeychainTrouble {
  readonly code: Extract<ErrorCode, 'vault_locked' | 'vault_unavailable' | 'vault_timeout'>
  readonly what: string
  readonly hint: string
}

/** Unlocks the login keyring of GNOME's daemon without a desktop, and makes it where there is none yet. */
const UNLOCK_LINUX =
  'read -rs P; printf %s "$P" | gnome-keyring-daemon --replace --unlock --components=secrets --daemonize'

const LINUX: Readonly<Record<Exclude<KeychainState, 'ready' | 'failed'>, KeychainTrouble>> = {
  locked: {
    code: 'vault_locked',
    what: 'the keyring is locked',
    hint: `log in at the desktop, or: ${UNLOCK_LINUX}`,
  },
  no_bus: {
    code: 'vault_unavailable',
    what: 'there is no D-Bus session bus',
    hint: 'start prefect-authd inside your session; over ssh: export DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus',
  },
  no_provider: {
    code: 'vault_unavailable',
    what: 'no keyring daemon answers on the session bus',
    hint: 'sudo apt-get install gnome-keyring',
  },
  no_keyring: {
    code: 'vault_unavailable',
    what: 'there is no default keyring yet',
    hint: `log in at the desktop once, or: ${UNLOCK_LINUX}`,
  },
  timed_out: {
    code: 'vault_timeout',
    what: 'the keyring daemon does not answer',
    hint: 'systemctl --user restart gnome-keyring-daemon.service',
  },
}

/** The trouble that a finding is; `undefined` for `ready`. */
export function troubleOf({ state, detail }: KeychainFinding): KeychainTrouble | undefined {
  if (state === 'ready') return undefined
  if (state !== 'failed') return LINUX[state]
  return {
    code: 'vault_unavailable',
    what: `the keyring cannot be asked: ${detail}`,
    hint: 'prefect-auth doctor',
  }
}

/** keytar passes on the sentences of libsecret, macOS and Windows: numbers and codes do not survive. */
const SENTENCES: readonly (readonly [pattern: RegExp, state: KeychainState])[] = [
  [/-25308|interaction is not allowed|user canceled|passphrase you entered is not correct/i, 'locked'],
  [/locked collection|IsLocked|prompt was dismissed/i, 'locked'],
  [/Cannot autolaunch D-Bus|Could not connect/i, 'no_bus'],
  [/was not provided by any \.service files/i, 'no_provider'],
  [/Object does not exist at path/i, 'no_keyring'],
  [/Timeout was reached/i, 'timed_out'],
]

/** What keytar's complaint means. */
export function troubleOfComplaint(message: string, platform: string): KeychainTrouble {
  const state = SENTENCES.find(([pattern]) => pattern.test(message))?.[1] ?? 'failed'
  if (state === 'locked' && platform === 'darwin') {
    return { code: 'vault_locked', what: 'the login keychain is locked', hint: 'security unlock-keychain' }
  }
  if (state !== 'failed' && state !== 'ready') return LINUX[state]
  return { code: 'vault_unavailable', what: `the keychain refused: ${message}`, hint: 'prefect-auth doctor' }
}

/** keytar itself could not be loaded. */
export function troubleOfModule(message: string, platform: string): KeychainTrouble {
  const code = 'vault_unavailable'
  if (/cannot find (package|module) 'keytar'/i.test(message)) {
    const hint = 'npm install --global --include=optional prefect-auth-broker'
    return { code, what: 'the optional package keytar is not installed', hint }
  }
  const what = `the package keytar cannot be loaded: ${message}`
  return {
    code,
    what,
    hint: platform === 'linux' ? 'sudo apt-get install libsecret-1-0' : 'prefect-auth doctor',
  }
}

/** How the vault stands after this error; `undefined` where the error says nothing about it. */
export function stateAfter(error: BrokerError): 'locked' | 'unavailable' | 'timed_out' | undefined {
  switch (error.code) {
    case 'vault_locked':
      return 'locked'
    case 'vault_unavailable':
      return 'unavailable'
    case 'vault_timeout':
      return 'timed_out'
    default:
      return undefined
  }
}
