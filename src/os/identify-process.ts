/** Tells a running process from a later one of the same number, by when it was started. */
import { readFile } from 'node:fs/promises'
import type { Clock } from '../std/clock.js'
import { runProgram } from './run-program.js'

/** The answer names the process; `undefined`: it is not running, or it can't be told. */
export function createProcessIdentifier({
  clock,
  platform,
}: {
  readonly clock: Clock
  readonly platform: string
}): (pid: number) => Promise<string | undefined> {
  return platform === 'linux' ? linuxStart : (pid) => startByPs(pid, clock)
}

/** Clock ticks since the boot, and the boot itself: both begin anew after a restart. */
async function linuxStart(pid: number): Promise<string | undefined> {
  try {
    const [stat, boot] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'utf8'),
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
    ])
    // "pid (name) state …": the name may hold anything, brackets too; the start is field 22.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [state, start] = [fields[0], fields[19]]
    return start === undefined || state === 'Z' || state === 'X' ? undefined : `${boot.trim()} ${start}`
  } catch {
    return undefined
  }
}

async function startByPs(pid: number, clock: Clock): Promise<string | undefined> {
  const call = { file: '/bin/ps', args: ['-o', 'lstart=', '-p', String(pid)], env: { LC_ALL: 'C' } }
  const result = await runProgram({ ...call, deadlineMs: 2_000 }, clock)
  if (result.kind !== 'exited' || result.code !== 0) return undefined
  return result.stdout.trim() || undefined
}
