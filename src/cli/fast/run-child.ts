/** Runs a command as our child where this process cannot be replaced: signals go down, the exit code comes up. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import type { Host } from './host.js'

export interface ChildPlan {
  readonly file: string
  /** With the name that the command goes by first, as argv has it. */
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
/** The terminal sends these to us and the child alike: a second copy would be taken for a second Ctrl-C. */
const FROM_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT', 'SIGWINCH']

/** Resolves with the exit code: the child's own, 128+n for a signal, 127 not found, 126 not startable. */
export function runChild(plan: ChildPlan, host: Host): Promise<number> {
  const [argv0 = plan.file, ...args] = plan.argv
  return new Promise((resolve) => {
    const child = spawn(plan.file, args, { argv0, env: { ...plan.env }, stdio: 'inherit' })
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
      finish(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))
    })
  })
}

/** Whether Ctrl-C in our terminal reaches this process group. */
function isInForeground(host: Host): boolean {
  if (host.platform !== 'linux') return host.hasTerminal
  try {
    // "pid (name) state ppid pgrp session tty tpgid …"; the name may hold anything, brackets too.
    const stat = readFileSync('/proc/self/stat', 'utf8')
    const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return group === foreground
  } catch {
    return host.hasTerminal
  }
}
