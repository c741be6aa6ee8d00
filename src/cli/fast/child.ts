/** The command of `exec`: found as a shell finds it, and given its environment. */

import { accessSync, closeSync, constants, openSync, readSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import {
  ENV_NAMES,
  GROUP_NAMES,
  isShadow,
  PROFILE_VARIABLE,
  PROXY_EXTRA_NAMES,
} from '../../wire/env-names.js'
import { leftBehind } from './host.js'

export type FoundCommand =
  | { readonly kind: 'found'; readonly file: string; readonly isForKernel: boolean }
  | { readonly kind: 'missing' }
  | { readonly kind: 'not_executable' }

/** Searches `path` (a `PATH`), unless `command` contains a slash. */
export function findCommand(command: string, path: string | undefined): FoundCommand {
  const files = command.includes('/')
    ? [command]
    : (path ?? '/usr/local/bin:/usr/bin:/bin').split(delimiter).map((folder) => join(folder || '.', command))
  let isSeen = false
  for (const file of files) {
    const kind = look(file)
    if (kind === 'executable') return { kind: 'found', file, isForKernel: isForKernel(file) }
    if (kind === 'not_executable') isSeen = true
  }
  return { kind: isSeen ? 'not_executable' : 'missing' }
}

function look(file: string): 'executable' | 'not_executable' | 'missing' {
  try {
    if (!statSync(file).isFile()) return 'not_executable'
  } catch {
    return 'missing'
  }
  return mayRun(file) ? 'executable' : 'not_executable'
}

function mayRun(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

const ELF = '\x7fELF'
const MACH_O = ['\xcf\xfa\xed\xfe', '\xca\xfe\xba\xbe']

/**
 * Whether execve can run the file: a binary, or a script whose interpreter exists. A script without a `#!` line needs
 * the shell that `spawn` falls back to; a failed execve would kill us.
 */
function isForKernel(file: string): boolean {
  const head = readHead(file)
  if (head.startsWith(ELF) || MACH_O.some((magic) => head.startsWith(magic))) return true
  const interpreter = /^#![ \t]*(\/[^\s]+)/.exec(head)?.[1]
  return interpreter !== undefined && mayRun(interpreter)
}

function readHead(file: string): string {
  try {
    const descriptor = openSync(file, 'r')
    try {
      const buffer = Buffer.alloc(256)
      return buffer.toString('latin1', 0, readSync(descriptor, buffer))
    } finally {
      closeSync(descriptor)
    }
  } catch {
    return ''
  }
}

export interface ChildPlan {
  readonly file: string
  /** Includes argv[0], the name that the command was called by. */
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

interface ChildEnvPlan {
  readonly env: Readonly<Record<string, string>>
  /** Variables that the caller had set to other values; the profile's values win. */
  readonly overruled: readonly string[]
}

type Variables = Readonly<Record<string, string | undefined>>

/**
 * The caller's environment with the variables of one profile, whole: what the profile has no value for is emptied or removed, and
 * so is what Prefect might prefer. `isOurs` tells values that `env` set in the caller's shell: they are replaced in silence.
 */
export function planChildEnv(
  caller: Variables,
  served: Variables,
  isOurs: (name: string, value: string) => boolean = () => false,
): ChildEnvPlan {
  const env: Record<string, string> = {}
  const overruled: string[] = []
  for (const [name, value] of Object.entries(caller)) {
    if (value === undefined) continue
    if (!isShadow(name)) env[name] = value
    else if (isConflict(value, served[name.toUpperCase()]) && !isOurs(name, value)) overruled.push(name)
  }
  for (const name of ENV_NAMES) {
    const before = caller[name]
    const after = served[name]
    delete env[name]
    if (after !== undefined) env[name] = after
    if (before !== undefined && isConflict(before, after) && !isOurs(name, before)) overruled.push(name)
  }
  for (const name of leftBehind(caller)) delete env[name]
  // The daemon extends the caller's values, so they override nothing.
  for (const name of [PROFILE_VARIABLE, ...PROXY_EXTRA_NAMES, ...GROUP_NAMES]) {
    const value = served[name]
    if (value !== undefined) env[name] = value
  }
  return { env, overruled }
}

/** An empty variable is a value, which Prefect would obey. */
function isConflict(before: string, after: string | undefined): boolean {
  return before !== (after ?? '')
}
