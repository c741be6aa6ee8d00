/** `prefect-auth integrate`: plain `prefect` and `python flow.py` of an environment get the credentials by themselves. */
import type { Command } from 'commander'
import { failureOf } from '../../../client/failure.js'
import { systemClock } from '../../../std/clock.js'
import { usageError } from '../../failure.js'
import {
  interpreterHere,
  interpreterOf,
  interpretersAround,
  lookAtEnvironment,
} from '../../python/environment.js'
import { integrate, takeOut } from '../../python/plugin.js'
import { type CommonOptions, type Session, type Start, withJson } from '../../session.js'
import { printable } from '../../text.js'

interface IntegrateOptions extends CommonOptions {
  readonly python?: readonly string[]
  readonly all?: boolean
  readonly remove?: boolean
  readonly early?: boolean
}

/** What became of one environment. */
interface Outcome {
  readonly environment: string
  readonly state: 'integrated' | 'removed' | 'unchanged' | 'failed'
  readonly prefect?: string
  readonly problem?: string
  readonly hint?: string
}

export function addIntegrate(program: Command, start: Start): void {
  withJson(program.command('integrate'))
    .description(
      "install our plugin for Prefect into Python environments, so that plain 'prefect' has the credentials",
    )
    .option(
      '--python <path>',
      'a virtual environment or a Python; may be repeated',
      (path: string, paths: string[] = []) => [...paths, path],
    )
    .option('--all', 'all environments with Prefect in the usual places')
    .option(
      '--early',
      'also where Prefect is older than 3.6.14: by a line that each start of that Python runs',
    )
    .option('--remove', 'take it out again')
    .action((options: IntegrateOptions) => start('integrate', options, (session) => run(session, options)))
}

async function run(session: Session, options: IntegrateOptions): Promise<number> {
  const pythons = choose(session, options)
  const environments: Outcome[] = []
  for (const python of pythons) environments.push(await treat(session, options, python))
  session.answer({ environments }, () => describe(environments, options.remove === true))
  return environments.some(({ state }) => state === 'failed') ? 1 : 0
}

function choose(
  { terminal }: Session,
  { python: named = [], all = false }: IntegrateOptions,
): readonly string[] {
  const { folder = '/' } = terminal
  const chosen = named.map((path) => interpreterOf(path, folder))
  if (!all) return chosen.length > 0 ? chosen : [interpreterHere(terminal)]
  const found = [...new Set([...chosen, ...interpretersAround(terminal)])]
  if (found.length > 0) return found
  throw usageError(
    'no Python environment with Prefect is in the usual places',
    'prefect-auth integrate --python /PATH/OF/A/VENV',
  )
}

async function treat(
  { terminal }: Session,
  { remove = false, early = false }: IntegrateOptions,
  python: string,
): Promise<Outcome> {
  const parts = { terminal, clock: systemClock() }
  try {
    const environment = await lookAtEnvironment(python, terminal, parts.clock)
    if (remove) {
      const wasThere = await takeOut(environment, parts)
      return { environment: environment.prefix, state: wasThere ? 'removed' : 'unchanged' }
    }
    const { prefix, prefect } = await integrate(environment, early, parts)
    return { environment: prefix, state: 'integrated', prefect }
  } catch (error) {
    const failure = failureOf(error)
    if (failure === undefined) throw error
    const { detail, hint } = failure
    return { environment: python, state: 'failed', problem: detail, ...(hint === undefined ? {} : { hint }) }
  }
}

function describe(environments: readonly Outcome[], isRemoval: boolean): string {
  const lines = environments.flatMap(({ environment, state, prefect, problem, hint }) => {
    const name = printable(environment)
    if (state === 'failed') return [`failed: ${printable(problem ?? '')}`, `  try: ${printable(hint ?? '')}`]
    if (state === 'integrated')
      return [`${name}: Prefect ${printable(prefect ?? '')} gets its credentials from prefect-authd`]
    return [`${name}: ${state === 'removed' ? 'the plugin is removed' : 'had no plugin of ours'}`]
  })
  const isDone = !isRemoval && environments.some(({ state }) => state === 'integrated')
  const next = isDone
    ? ['Processes that run already are unchanged. To take it out: prefect-auth integrate --remove']
    : []
  return [...lines, ...next].join('\n')
}
