/** The variables that `env` and `exec` set, empty or remove. Without zod, because the fast path loads it. */

/** Set if they have a value, of which `wholeEnv` makes sure for some; else removed. */
export const ENV_NAMES = [
  'PREFECT_API_URL',
  'PREFECT_API_KEY',
  'PREFECT_API_AUTH_STRING',
  'PREFECT_CLOUD_API_URL',
  'PREFECT_CLOUD_UI_URL',
] as const

export type EnvName = (typeof ENV_NAMES)[number]

/**
 * They always have a value, the secrets an empty one. Prefect fills a variable that is not set from `.env`, `prefect.toml`,
 * `pyproject.toml` and the table of the profile: another account's key would go to this server. Measured with 2.20 and 3.9: an
 * empty secret means none.
 */
type FilledName = 'PREFECT_API_KEY' | 'PREFECT_API_AUTH_STRING' | 'PREFECT_CLOUD_API_URL'

/** Prefect's own value of `PREFECT_CLOUD_API_URL`. */
export const PREFECT_CLOUD_API = 'https://api.prefect.cloud/api'

/** Chooses the profile from which Prefect takes every setting that has no variable. */
export const PROFILE_VARIABLE = 'PREFECT_PROFILE'

/** JSON for a whole group of settings, which Prefect 3 prefers to the variable of a single one. */
export const GROUP_NAMES = ['PREFECT_API', 'PREFECT_CLOUD'] as const

/** The old name of `PREFECT_CLOUD_API_URL`: Prefect 2 prefers it to the new one, Prefect 3 ignores it. */
export const OLD_CLOUD_NAME = 'PREFECT_CLOUD_URL'

/** Removed by every shell: the groups, the old name, and small letters, which Prefect 3 reads as well. */
export const SHADOW_NAMES: readonly string[] = [
  ...GROUP_NAMES,
  OLD_CLOUD_NAME,
  ...[...ENV_NAMES, ...GROUP_NAMES].map((name) => name.toLowerCase()),
]

/** Holds the id of its token in the environment of a job through the proxy: who has it, or comes from it, answers no question. */
export const JOB_MARK = 'PREFECT_AUTH_JOB'

/** What a job through the proxy gets in addition. */
export const PROXY_EXTRA_NAMES = [
  'PREFECT_SILENCE_API_URL_MISCONFIGURATION',
  'PREFECT_UI_URL',
  OLD_CLOUD_NAME,
  'PREFECT_CLIENT_CUSTOM_HEADERS',
  'NO_PROXY',
  'no_proxy',
  JOB_MARK,
] as const

/** The ones to remove when the proxy is no longer used; a `NO_PROXY` that includes this machine does no harm. */
export const PROXY_ONLY_NAMES = ['PREFECT_SILENCE_API_URL_MISCONFIGURATION', 'PREFECT_UI_URL'] as const

/** What a shell that follows (`prefect-auth hook`) is told besides: for prompts, and to know later what we set. */
export const FOLLOW_NAMES = [
  'PREFECT_AUTH_PROFILE',
  'PREFECT_AUTH_WORKSPACE',
  'PREFECT_AUTH_EXPIRES',
  'PREFECT_AUTH_SET',
] as const

export type FollowName = (typeof FOLLOW_NAMES)[number]

/** `env` with every variable that must have a value, if only an empty one, so that no other source can fill it. */
export function wholeEnv<T extends Readonly<Partial<Record<EnvName, string | undefined>>>>(
  env: T,
): T & Readonly<Record<FilledName, string>> {
  return {
    ...env,
    PREFECT_API_KEY: env.PREFECT_API_KEY ?? '',
    PREFECT_API_AUTH_STRING: env.PREFECT_API_AUTH_STRING ?? '',
    PREFECT_CLOUD_API_URL: env.PREFECT_CLOUD_API_URL ?? PREFECT_CLOUD_API,
  }
}

/** Whether Prefect might prefer this variable to one of ours: Prefect 3 ignores case and reads groups first, Prefect 2 an old name. */
export function isShadow(name: string): boolean {
  const upper = name.toUpperCase()
  if (name === OLD_CLOUD_NAME || GROUP_NAMES.some((group) => group === upper)) return true
  return name !== upper && ENV_NAMES.some((known) => known === upper)
}
