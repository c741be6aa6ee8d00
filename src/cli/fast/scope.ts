/** A scope of systemd for an agent: a control group that its processes, also those that leave their parents, stay in. */

import { runProgram } from '../../os/run-program.js'
import { SECOND_MS, systemClock } from '../../std/clock.js'
import { type ChildPlan, findCommand } from './child.js'
import type { Host } from './host.js'

export const NO_SCOPE =
  'there is no systemd user manager here, so a process that leaves its parents and clears its environment is not known as part of the command (docs/agents.md)'

export interface Scope {
  /** The same command, started in the scope. */
  wrap(plan: ChildPlan): ChildPlan
  /** Ends what is left in it. Resolves with whether there was something. */
  stop(): Promise<boolean>
}

/** How long what is left may take to end by itself. */
const STOP_MS = 5 * SECOND_MS
const CALL_MS = 10 * SECOND_MS

/** `undefined` where no user manager makes one. `id`: of the agent's token, by which the daemon knows the scope. */
export async function openScope(
  id: string,
  { env, platform }: Pick<Host, 'env' | 'platform'>,
): Promise<Scope | undefined> {
  if (platform !== 'linux') return undefined
  const [starter, control] = ['systemd-run', 'systemctl'].map((name) => findCommand(name, env.PATH))
  if (starter?.kind !== 'found' || control?.kind !== 'found') return undefined
  const own = Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  )
  const run = async (file: string, args: readonly string[], deadlineMs = CALL_MS) => {
    const result = await runProgram({ file, args, env: own, deadlineMs }, systemClock())
    return result.kind === 'exited' && result.code === 0
  }
  const start = ['--user', '--scope', '--quiet', '--collect']
  // Tried before: its failure would look like that of the command.
  if (!(await run(starter.file, [...start, '--', 'true']))) return undefined
  const unit = `prefect-auth-agent-${id}.scope`
  const ask = (...words: string[]) => run(control.file, ['--user', '--quiet', ...words, unit])
  return {
    wrap: ({ file, argv, env: childEnv }) => ({
      file: starter.file,
      argv: ['systemd-run', ...start, `--unit=${unit}`, '--', file, ...argv.slice(1)],
      env: childEnv,
    }),
    async stop() {
      if (!(await ask('is-active'))) return false
      if (!(await run(control.file, ['--user', '--quiet', 'stop', unit], STOP_MS)))
        await ask('kill', '--signal=SIGKILL')
      return true
    },
  }
}
