/** A command run as a child, where this process cannot become it: signals and its exit code pass through. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { constants as os } from 'node:os'
import { isatty } from 'node:tty'
import type { ChildPlan } from './child.js'
import type { Host } from './host.js'

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
    // Before it starts: a signal in between would end us alone. Listeners run once it has started.
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
    try {
      child = spawn(plan.file, args, { argv0, env: { ...plan.env }, stdio: 'inherit' })
    } catch {
      // Arguments that are too long, no memory: thrown, not sent.
      return finish(126)
    }
    child.on('error', (error) => finish('code' in error && error.code === 'ENOENT' ? 127 : 126))
    child.on('exit', (code, signal) => {
      finish(code ?? 128 + (signal === null ? 0 : os.signals[signal]))
    })
  })
}

/** Whether Ctrl-C at our terminal reaches this process group. */
function isInForeground(host: Host): boolean {
  if (host.platform !== 'linux') return hasTerminal()
  try {
    // "pid (name) state ppid pgrp session tty tpgid …"; the name may contain anything, including brackets.
    const stat = readFileSync('/proc/self/stat', 'utf8')
    const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return group === foreground
  } catch {
    return hasTerminal()
  }
}

/** Whether one of the standard streams is a terminal. */
function hasTerminal(): boolean {
  return [0, 1, 2].some(isatty)
}
