/** The command of `exec`: found as a shell finds it, given its environment, and run as a child. */

import { type ChildProcess, spawn } from 'node:child_process'
import { constants, readFileSync } from 'node:fs'
import { access, open, stat } from 'node:fs/promises'
import { constants as os } from 'node:os'
import { delimiter, join } from 'node:path'
import {
  ENV_NAMES,
  GROUP_NAMES,
  isShadow,
  PROFILE_VARIABLE,
  PROXY_EXTRA_NAMES,
} from '../../wire/env-names.js'
import { type Host, leftBehind } from './host.js'

export type FoundCommand =
  | { readonly kind: 'found'; readonly file: string; readonly isForKernel: boolean }
  | { readonly kind: 'missing' }
  | { readonly kind: 'not_executable' }

/** Searches `path` (a `PATH`), unless `command` contains a slash. */
export async function findCommand(command: string, path: string | undefined): Promise<FoundCommand> {
  const files = command.includes('/')
    ? [command]
    : (path ?? '/usr/local/bin:/usr/bin:/bin').split(delimiter).map((folder) => join(folder || '.', command))
  let isSeen = false
  for (const file of files) {
    const kind = await look(file)
    if (kind === 'executable') return { kind: 'found', file, isForKernel: await isForKernel(file) }
    if (kind === 'not_executable') isSeen = true
  }
  return { kind: isSeen ? 'not_executable' : 'missing' }
}

async function look(file: string): Promise<'executable' | 'not_executable' | 'missing'> {
  try {
    if (!(await stat(file)).isFile()) return 'not_executable'
  } catch {
    return 'missing'
  }
  return (await mayRun(file)) ? 'executable' : 'not_executable'
}

function mayRun(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  )
}

const ELF = '\x7fELF'
const MACH_O = ['\xcf\xfa\xed\xfe', '\xca\xfe\xba\xbe']

/**
 * Whether execve can run the file: a binary, or a script whose interpreter exists. A script without a `#!` line needs
 * the shell that `spawn` falls back to; a failed execve would kill us.
 */
async function isForKernel(file: string): Promise<boolean> {
  const head = await readHead(file)
  if (head.startsWith(ELF) || MACH_O.some((magic) => head.startsWith(magic))) return true
  const interpreter = /^#![ \t]*(\/[^\s]+)/.exec(head)?.[1]
  return interpreter !== undefined && mayRun(interpreter)
}

async function readHead(file: string): Promise<string> {
  try {
    const handle = await open(file, 'r')
    try {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(256), 0, 256, 0)
      return buffer.toString('latin1', 0, bytesRead)
    } finally {
      await handle.close()
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

const RELAYED = [
  'SIGTERM',
  'SIGHUP',
  'SIGUSR1',
  'SIGUSR2',
  'SIGINT',
  'SIGQUIT',
  'SIGWINCH',
  'SIGALRM',
] as const
/** The terminal sends these to the child as well: relaying them would be a second Ctrl-C. */
const FROM_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT', 'SIGWINCH']

/** Resolves with the child's exit code, 128+n for signal n, 127 if not found, 126 if it cannot be started. */
export function runChild(plan: ChildPlan, host: Host): Promise<number> {
  const [argv0 = plan.file, ...args] = plan.argv
  return new Promise((resolve) => {
    let child: ChildProcess
    try {
      child = spawn(plan.file, args, { argv0, env: { ...plan.env }, stdio: 'inherit' })
    } catch {
      // Arguments that are too long, no memory: thrown, not sent.
      return resolve(126)
    }
    const undo = RELAYED.map((signal) =>
      host.onSignal(signal, () => {
        if (FROM_TERMINAL.includes(signal) && isInForeground(host)) return
        child.kill(signal)
      }),
    )
    const finish = (code: number) => {
      for (const stop of undo) stop()
      resolve(code)
    }
    child.on('error', (error) => finish('code' in error && error.code === 'ENOENT' ? 127 : 126))
    child.on('exit', (code, signal) => {
      finish(code ?? 128 + (signal === null ? 0 : os.signals[signal]))
    })
  })
}

/** Whether Ctrl-C at our terminal reaches this process group. */
function isInForeground(host: Host): boolean {
  if (host.platform !== 'linux') return host.hasTerminal
  try {
    // "pid (name) state ppid pgrp session tty tpgid …"; the name may contain anything, including brackets.
    const stat = readFileSync('/proc/self/stat', 'utf8')
    const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return group === foreground
  } catch {
    return host.hasTerminal
  }
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
