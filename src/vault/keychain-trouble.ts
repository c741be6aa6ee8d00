/** Why the keychain cannot be used, in words that a person can act on, and how to find out without a prompt. */
import type { BrokerError, ErrorCode } from '../base/errors.js'
import { findExecutable, type ProgramResult, runProgram } from '../os/run-program.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { plainText } from '../std/text.js'

/** The state of the keychain before it is asked for anything. */
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

interface KeychainFinding {
  readonly state: KeychainState
  readonly detail: string
}

/** Finds the state of the keychain without ever causing a prompt. Never rejects. */
export type Preflight = () => Promise<KeychainFinding>

export interface KeychainTrouble {
  readonly code: Extract<ErrorCode, 'vault_locked' | 'vault_unavailable' | 'vault_timeout'>
  readonly what: string
  readonly hint: string
}

/** Unlocks the login keyring of GNOME's daemon without a desktop, and creates it if there is none yet. */
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

/** The trouble that a finding means; `undefined` for `ready`. */
export function troubleOf({ state, detail }: KeychainFinding): KeychainTrouble | undefined {
  if (state === 'ready') return undefined
  if (state !== 'failed') return LINUX[state]
  return {
    code: 'vault_unavailable',
    what: `the keyring cannot be reached: ${detail}`,
    hint: 'prefect-auth doctor',
  }
}

/** keytar passes on sentences of libsecret, macOS and Windows, without their error codes. */
const SENTENCES: readonly (readonly [pattern: RegExp, state: KeychainState])[] = [
  [/-25308|interaction is not allowed|user canceled|passphrase you entered is not correct/i, 'locked'],
  [/locked collection|IsLocked|prompt was dismissed/i, 'locked'],
  [/Cannot autolaunch D-Bus|Could not connect/i, 'no_bus'],
  [/was not provided by any \.service files/i, 'no_provider'],
  [/Object does not exist at path/i, 'no_keyring'],
  [/Timeout was reached/i, 'timed_out'],
]

/** The trouble that keytar's message means. */
export function troubleOfComplaint(message: string, platform: string): KeychainTrouble {
  const state = SENTENCES.find(([pattern]) => pattern.test(message))?.[1] ?? 'failed'
  if (state === 'locked' && platform === 'darwin') {
    return { code: 'vault_locked', what: 'the login keychain is locked', hint: 'security unlock-keychain' }
  }
  if (state !== 'failed' && state !== 'ready') return LINUX[state]
  return { code: 'vault_unavailable', what: `the keychain refused: ${message}`, hint: 'prefect-auth doctor' }
}

/** The trouble if keytar itself cannot be loaded. */
export function troubleOfModule(message: string, platform: string): KeychainTrouble {
  const code = 'vault_unavailable'
  if (/cannot find (package|module) 'keytar['/]/i.test(message)) {
    // The package has it for each system that is supported; a copy without it is not whole, or the system is another.
    const hint = 'prefect-authd --vault-backend=file      (or install the package again, whole: README.md)'
    return { code, what: 'the keychain module keytar is not installed for this system', hint }
  }
  const what = `the package keytar cannot be loaded: ${message}`
  return {
    code,
    what,
    hint: platform === 'linux' ? 'sudo apt-get install libsecret-1-0' : 'prefect-auth doctor',
  }
}

/** The vault's state after this error; `undefined` if the error says nothing about it. */
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

interface PreflightDependencies {
  /** The same as keytar's child gets: both must talk to the same bus. */
  readonly env: Readonly<Record<string, string>>
  readonly deadlineMs: number
  readonly clock: Clock
  /** Absolute paths; the first that exists is used. */
  readonly programs?: readonly string[]
}

/** Absolute: whoever can write to a directory in PATH must not speak for the keychain. The last one is NixOS. */
const BUSCTL = ['/usr/bin/busctl', '/bin/busctl', '/run/current-system/sw/bin/busctl']

const QUESTION = [
  '--user',
  'get-property',
  'org.freedesktop.secrets',
  '/org/freedesktop/secrets/aliases/default',
  'org.freedesktop.Secret.Collection',
  'Locked',
] as const

export function createPreflight(dependencies: PreflightDependencies): Preflight {
  const { env, deadlineMs, clock, programs = BUSCTL } = dependencies
  return async () => {
    const file = await findExecutable(programs)
    if (file === undefined) return { state: 'failed', detail: `none of ${programs.join(', ')} exists` }
    // --timeout alone is not enough: busctl ignores it while a hung daemon is being started or asked.
    const args = [`--timeout=${Math.ceil(deadlineMs / SECOND_MS)}`, ...QUESTION]
    const call = { file, args, env: { ...env, LC_ALL: 'C' }, deadlineMs }
    return readFinding(await runProgram(call, clock))
  }
}

/** What busctl's result means. */
export function readFinding(result: ProgramResult): KeychainFinding {
  switch (result.kind) {
    case 'exited': {
      if (result.code === 0 && result.stdout.trim() === 'b false') return { state: 'ready', detail: '' }
      if (result.code === 0 && result.stdout.trim() === 'b true') return { state: 'locked', detail: '' }
      const detail = plainText(result.stderr || result.stdout, 300)
      return { state: stateOf(detail), detail }
    }
    case 'crashed':
      return { state: 'failed', detail: `busctl was killed by ${result.signal}` }
    case 'not_started':
      return { state: 'failed', detail: result.reason }
    case 'timed_out':
      return { state: 'timed_out', detail: 'no answer in time' }
  }
}

const COMPLAINTS: readonly (readonly [pattern: RegExp, state: KeychainState])[] = [
  [/Failed to connect to bus|Failed to set bus address/, 'no_bus'],
  [/was not provided by any \.service files|Could not activate|NameHasNoOwner|exited with/, 'no_provider'],
  [/Object does not exist|No such object|Unknown object|UnknownObject/i, 'no_keyring'],
  [/timed out|Timeout was reached|NoReply|Did not receive a reply/i, 'timed_out'],
]

function stateOf(complaint: string): KeychainState {
  return COMPLAINTS.find(([pattern]) => pattern.test(complaint))?.[1] ?? 'failed'
}
