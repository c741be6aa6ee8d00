/** Pure: what of the caller's environment the service has to know, so that both find the same files and the same network. */
import { isAbsolute } from 'node:path'

/** Where things are; relative ones are made absolute by the caller's directory. */
const PATHS = [
  'PREFECT_AUTH_CONFIG',
  'PREFECT_AUTH_STATE_DIR',
  'PREFECT_AUTH_SOCKET',
  'PREFECT_HOME',
  'PREFECT_PROFILES_PATH',
  'XDG_CONFIG_HOME',
  'XDG_STATE_HOME',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'NODE_EXTRA_CA_CERTS',
]
const NETWORK = ['PREFECT_CLOUD_API_URL', 'PREFECT_CLOUD_UI_URL', 'HTTPS_PROXY', 'HTTP_PROXY', 'NO_PROXY']

/**
 * Sorted by name. Not `PREFECT_PROFILE`, `PREFECT_API_URL`, `PREFECT_API_KEY`: those are each caller's own, and a key does
 * not belong into a unit.
 */
export function carriedEnv(
  env: Readonly<Record<string, string | undefined>>,
  toAbsolute: (path: string) => string,
): Readonly<Record<string, string>> {
  const carried: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || value === '') continue
    if (PATHS.includes(name)) carried[name] = resolvePath(name, value, toAbsolute)
    else if (isCarried(name)) carried[name] = value
  }
  return Object.fromEntries(Object.entries(carried).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function isCarried(name: string): boolean {
  return NETWORK.includes(name.toUpperCase()) || name.startsWith('PREFECT_AUTH_')
}

function resolvePath(name: string, value: string, toAbsolute: (path: string) => string): string {
  // Relative ones in these two are invalid by their specification, `~` in Prefect's is read by everybody alike.
  if (name.startsWith('XDG_') || value.startsWith('~') || isAbsolute(value)) return value
  return toAbsolute(value)
}
