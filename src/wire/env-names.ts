/** Every variable that `env` and `exec` set or, where it has no value, remove. Without zod: the fast path loads it. */
export const ENV_NAMES = [
  'PREFECT_API_URL',
  'PREFECT_API_KEY',
  'PREFECT_API_AUTH_STRING',
  'PREFECT_CLOUD_API_URL',
  'PREFECT_CLOUD_UI_URL',
] as const

/** What a job that goes through the proxy gets besides. */
export const PROXY_EXTRA_NAMES = ['PREFECT_SILENCE_API_URL_MISCONFIGURATION', 'NO_PROXY', 'no_proxy'] as const

/** Of these, what must not stay behind where the proxy is left; a `NO_PROXY` with this machine in it is right in any case. */
export const PROXY_ONLY_NAMES = ['PREFECT_SILENCE_API_URL_MISCONFIGURATION'] as const
