/** Every variable that `env` and `exec` set or, where it has no value, remove. Without zod: the fast path loads it. */
export const ENV_NAMES = [
  'PREFECT_API_URL',
  'PREFECT_API_KEY',
  'PREFECT_API_AUTH_STRING',
  'PREFECT_CLOUD_API_URL',
  'PREFECT_CLOUD_UI_URL',
] as const
