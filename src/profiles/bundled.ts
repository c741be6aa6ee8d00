/** The settings of a profile: which of them may be shown, and which of them Prefect 2 does not survive. */
import type { ProfileEntry } from './profile.js'

/** The settings that this program reads out of a profile. */
export const OUR_SETTINGS = [
  'PREFECT_API_URL',
  'PREFECT_API_KEY',
  'PREFECT_API_AUTH_STRING',
  'PREFECT_CLOUD_API_URL',
  'PREFECT_CLOUD_UI_URL',
  'PREFECT_CLOUD_URL',
] as const

/**
 * The entry's settings for showing. Only what is known to be harmless is shown whole: a database URL, custom headers
 * or a setting we have never heard of may hold a password.
 */
export function shownSettings(entry: ProfileEntry): Readonly<Record<string, string>> {
  const shown = Object.entries(entry.settings).map(([name, value]) => [
    name,
    isHarmless(name) ? value : HIDDEN,
  ])
  if (entry.apiKey !== undefined) shown.push(['PREFECT_API_KEY', HIDDEN])
  if (entry.authString !== undefined) shown.push(['PREFECT_API_AUTH_STRING', HIDDEN])
  return Object.fromEntries(shown)
}

const HIDDEN = '[hidden]'
const HARMLESS =
  /^PREFECT_(?:API_URL|CLOUD_API_URL|CLOUD_UI_URL|CLOUD_URL|UI_URL|UI_API_URL|HOME|DEBUG_MODE|LOGGING_LEVEL|API_REQUEST_TIMEOUT|API_ENABLE_HTTP2|API_TLS_INSECURE_SKIP_VERIFY|API_SSL_CERT_FILE|SERVER_EPHEMERAL_ENABLED|SERVER_ALLOW_EPHEMERAL_MODE|CLIENT_MAX_RETRIES|CLIENT_RETRY_JITTER_FACTOR|CLIENT_CSRF_SUPPORT_ENABLED|DEFAULT_WORK_POOL_NAME|RESULTS_PERSIST_BY_DEFAULT)$/

function isHarmless(name: string): boolean {
  return HARMLESS.test(name)
}

/** One unknown setting in any profile, and Prefect 2 stops at import with `Unknown setting` (measured: 2.20). */
export function isUnknownToPrefect2(setting: string): boolean {
  if (!setting.startsWith('PREFECT_')) return true
  return UNKNOWN_TO_2.test(setting) && !SERVER_SETTINGS_OF_2.test(setting)
}

const UNKNOWN_TO_2 =
  /^PREFECT_(?:API_AUTH_STRING$|API_LOG_RETRYABLE_ERRORS$|CLIENT_CUSTOM_HEADERS$|CLIENT_METRICS_|CLIENT_SERVER_VERSION_CHECK_|CLOUD_ENABLE_ORCHESTRATION_TELEMETRY$|CLOUD_MAX_LOG_SIZE$|EXPERIMENTS_|FLOWS_|INTERNAL_|PLUGINS_|SERVER_|TASKS_RUNNER_|TELEMETRY_|TESTING_)/
const SERVER_SETTINGS_OF_2 =
  /^PREFECT_SERVER_(?:ANALYTICS_ENABLED|API_HOST|API_KEEPALIVE_TIMEOUT|API_PORT|CORS_ALLOWED_(?:HEADERS|METHODS|ORIGINS)|CSRF_PROTECTION_ENABLED|CSRF_TOKEN_EXPIRATION)$/
