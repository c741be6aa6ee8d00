/** The variables that `env` and `exec` set or remove. Without zod, because the fast path loads it. */

/** Set if they have a value, else removed. */
export const ENV_NAMES = [
  'PREFECT_API_URL',
  'PREFECT_API_KEY',
  'PREFECT_API_AUTH_STRING',
  'PREFECT_CLOUD_API_URL',
  'PREFECT_CLOUD_UI_URL',
] as const

/** What a job through the proxy gets in addition. */
export const PROXY_EXTRA_NAMES = ['PREFECT_SILENCE_API_URL_MISCONFIGURATION', 'NO_PROXY', 'no_proxy'] as const

/** The ones to remove when the proxy is no longer used; a `NO_PROXY` that includes this machine does no harm. */
export const PROXY_ONLY_NAMES = ['PREFECT_SILENCE_API_URL_MISCONFIGURATION'] as const
