/** Pure: the environment of a program that runs with a profile's credentials. */
import { ENV_NAMES, PROXY_EXTRA_NAMES, PROXY_ONLY_NAMES } from '../../wire/env-names.js'

export interface ChildEnvPlan {
  readonly env: Readonly<Record<string, string>>
  /** Variables of the caller that said something else; the chosen profile wins. */
  readonly overruled: readonly string[]
}

/**
 * All five variables go, then those that have a value come: what the profile does not say, the program does not get.
 * All else stays, `PREFECT_PROFILE` among it.
 */
export function planChildEnv(
  caller: Readonly<Record<string, string | undefined>>,
  served: Readonly<Record<string, string | undefined>>,
): ChildEnvPlan {
  const env: Record<string, string> = {}
  const overruled: string[] = []
  for (const [name, value] of Object.entries(caller)) if (value !== undefined) env[name] = value
  for (const name of ENV_NAMES) {
    const before = caller[name]
    const after = served[name]
    delete env[name]
    if (after !== undefined) env[name] = after
    if (before !== undefined && before !== '' && before !== after) overruled.push(name)
  }
  for (const name of leftBehind(caller)) delete env[name]
  // Extended by the daemon, never contradicted.
  for (const name of PROXY_EXTRA_NAMES) {
    const value = served[name]
    if (value !== undefined) env[name] = value
  }
  return { env, overruled }
}

/** Variables that only `env --proxy` can have set, where the caller's shell had it evaluated: it set them with the token. */
export function leftBehind(
  caller: Readonly<Record<string, string | undefined>>,
): readonly (typeof PROXY_ONLY_NAMES)[number][] {
  if (!caller.PREFECT_API_KEY?.startsWith('pab_')) return []
  return PROXY_ONLY_NAMES.filter((name) => caller[name] !== undefined)
}
