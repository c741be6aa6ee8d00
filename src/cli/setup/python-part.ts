/** Our plugin for Prefect in the Python environments of the usual places. */
import { realpathSync } from 'node:fs'
import { dirname } from 'node:path'
import { failureOf } from '../../client/failure.js'
import { systemClock } from '../../std/clock.js'
import { interpretersAround, lookAtEnvironment, type PythonEnvironment } from '../python/environment.js'
import { integrate, isSwitchedOn, switchText, takeOut, wayOf } from '../python/plugin.js'
import type { Terminal } from '../session.js'
import { printable } from '../text.js'
import { inHome, type RecordKeeper } from './files.js'
import { noted, type PartPlan, type SetupContext } from './step.js'

export async function planPythonPart(context: SetupContext): Promise<PartPlan> {
  const { terminal } = context.session
  const found = [
    ...new Map(
      interpretersAround(withoutFolder(terminal)).map((python) => [realFolder(python), python]),
    ).values(),
  ]
  if (found.length === 0) {
    return noted(
      'python: no environment with Prefect is active or in the usual places; for another one: prefect-auth integrate --python VENV',
    )
  }
  const plans: PartPlan[] = []
  for (const python of found) plans.push(await planEnvironment(context, python))
  return { steps: plans.flatMap(({ steps }) => steps), notes: plans.flatMap(({ notes }) => notes) }
}

/** What a directory has is not started because somebody is in it: `integrate` does that. */
export function withoutFolder({ env, home }: Terminal): Pick<Terminal, 'env' | 'home'> {
  return { env, home }
}

/** The same for an environment that is also reached by a link. */
function realFolder(python: string): string {
  return realpathSync(dirname(dirname(python)))
}

async function planEnvironment(context: SetupContext, python: string): Promise<PartPlan> {
  const { terminal } = context.session
  const clock = systemClock()
  let environment: PythonEnvironment
  try {
    environment = await lookAtEnvironment(python, terminal, clock)
  } catch (error) {
    const failure = failureOf(error)
    if (failure === undefined) throw error
    return noted(`python: ${printable(failure.detail)}`)
  }
  const { prefix, prefect, plugin, packages } = environment
  const name = printable(inHome(prefix, terminal))
  if (prefect === undefined) return noted(`python: no Prefect in ${name}`)
  if (wayOf(prefect) === 'early') {
    return noted(
      `python: Prefect ${printable(prefect)} in ${name} is older than 3.6.14 (prefect-auth integrate --early does it)`,
    )
  }
  const text = switchText(wayOf(prefect), prefect)
  if (plugin === terminal.version && isSwitchedOn(packages, text))
    return noted(`python: ${name} is up to date`)
  const step = {
    part: 'python' as const,
    says: [`install our plugin for Prefect ${printable(prefect)} into ${name}`],
    files: [{ path: `${packages}/prefect_auth_plugin.pth`, text }],
    async run() {
      // One that was there before was put there by `integrate`, and stays.
      if (plugin === undefined) await context.record.change((now) => withPython(now.pythons, now, python))
      await integrate(environment, false, { terminal, clock })
      return `${name}: plain prefect gets its credentials from the daemon`
    },
  }
  return { steps: [step], notes: [] }
}

function withPython<T>(pythons: readonly string[], record: T, python: string) {
  return { ...record, pythons: [...new Set([...pythons, python])] }
}

/** Takes the plugin out again. Resolves with what became of it. Fails as `takeOut` does. */
export async function takeOutPlugin(
  python: string,
  terminal: Terminal,
  record: RecordKeeper,
): Promise<string> {
  const clock = systemClock()
  let said = `${printable(python)} is gone`
  try {
    const environment = await lookAtEnvironment(python, terminal, clock)
    const name = printable(inHome(environment.prefix, terminal))
    said = (await takeOut(environment, { terminal, clock }))
      ? `taken out of ${name}`
      : `${name} has no plugin of ours`
  } catch (error) {
    // An environment that was deleted has nothing left to take out.
    if (failureOf(error)?.code !== 'python_unusable') throw error
  }
  await record.change((now) => ({ ...now, pythons: now.pythons.filter((one) => one !== python) }))
  return said
}
