/**
 * Asks the Secret Service (Linux) for the state of its default collection, without ever causing a prompt. keytar answers
 * "nothing there" for a locked keyring; this tells the two apart.
 */

import { findExecutable, type ProgramResult, runProgram } from '../os/run-program.js'
import type { Clock } from '../std/clock.js'
import { plainText } from '../std/text.js'
import type { KeychainFinding, KeychainState, Preflight } from './keychain-trouble.js'

export interface PreflightDependencies {
  /** What keytar's child gets: both must talk to the same bus. */
  readonly env: Readonly<Record<string, string>>
  readonly deadlineMs: number
  readonly clock: Clock
  /** Absolute paths, the first that exists is taken. */
  readonly programs?: readonly string[]
}

/** Absolute: whoever can write to a directory in PATH must not answer for the keychain. The last one is NixOS. */
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
    if (file === undefined) return { state: 'failed', detail: `none of ${programs.join(', ')} is there` }
    // --timeout alone is not enough: busctl does not keep to it while a hung daemon is being started or asked.
    const args = [`--timeout=${Math.ceil(deadlineMs / 1000)}`, ...QUESTION]
    const call = { file, args, env: { ...env, LC_ALL: 'C' }, deadlineMs }
    return readFinding(await runProgram(call, clock))
  }
}

/** Pure: what busctl's answer means. */
export function readFinding(result: ProgramResult): KeychainFinding {
  switch (result.kind) {
    case 'exited': {
      if (result.code === 0 && result.stdout.trim() === 'b false') return { state: 'ready', detail: '' }
      if (result.code === 0 && result.stdout.trim() === 'b true') return { state: 'locked', detail: '' }
      const detail = plainText(result.stderr || result.stdout, 300)
      return { state: stateOf(detail), detail }
    }
    case 'crashed':
      return { state: 'failed', detail: `busctl died of ${result.signal}` }
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
