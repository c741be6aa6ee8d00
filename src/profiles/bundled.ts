/** What is known of Prefect's profiles: built-in ones, harmless settings, names for new ones. */

import { BrokerError } from '../base/errors.js'
import { cleanText, loginCommand } from '../std/text.js'
import { NEW_PROFILE_NAME } from '../wire/kinds.js'
import type { ProfileEntry } from './profile.js'

/** The settings that this program reads from a profile. */
export const OUR_SETTINGS = [
  'PREFECT_API_URL',
  'PREFECT_API_KEY',
  'PREFECT_API_AUTH_STRING',
  'PREFECT_CLOUD_API_URL',
  'PREFECT_CLOUD_UI_URL',
  'PREFECT_CLOUD_URL',
] as const

/**
 * The entry's settings as they may be shown. Only what is known to be harmless is shown: a database URL, custom headers
 * or an unknown setting may contain a password.
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
/** Their values cannot be secrets. */
const HARMLESS =
  /^PREFECT_(?:API_URL|CLOUD_API_URL|CLOUD_UI_URL|CLOUD_URL|UI_URL|UI_API_URL|HOME|DEBUG_MODE|LOGGING_LEVEL|API_REQUEST_TIMEOUT|API_ENABLE_HTTP2|API_TLS_INSECURE_SKIP_VERIFY|API_SSL_CERT_FILE|SERVER_EPHEMERAL_ENABLED|SERVER_ALLOW_EPHEMERAL_MODE|CLIENT_MAX_RETRIES|CLIENT_RETRY_JITTER_FACTOR|CLIENT_CSRF_SUPPORT_ENABLED|DEFAULT_WORK_POOL_NAME|RESULTS_PERSIST_BY_DEFAULT)$/

function isHarmless(name: string): boolean {
  return HARMLESS.test(name)
}

/** With one unknown setting in any profile, Prefect 2 fails at import with `Unknown setting` (measured: 2.20). */
export function isUnknownToPrefect2(setting: string): boolean {
  if (!setting.startsWith('PREFECT_')) return true
  return UNKNOWN_TO_2.test(setting) && !SERVER_SETTINGS_OF_2.test(setting)
}

const UNKNOWN_TO_2 =
  /^PREFECT_(?:API_AUTH_STRING$|API_LOG_RETRYABLE_ERRORS$|CLIENT_CUSTOM_HEADERS$|CLIENT_METRICS_|CLIENT_SERVER_VERSION_CHECK_|CLOUD_ENABLE_ORCHESTRATION_TELEMETRY$|CLOUD_MAX_LOG_SIZE$|EXPERIMENTS_|FLOWS_|INTERNAL_|PLUGINS_|SERVER_|TASKS_RUNNER_|TELEMETRY_|TESTING_)/
const SERVER_SETTINGS_OF_2 =
  /^PREFECT_SERVER_(?:ANALYTICS_ENABLED|API_HOST|API_KEEPALIVE_TIMEOUT|API_PORT|CORS_ALLOWED_(?:HEADERS|METHODS|ORIGINS)|CSRF_PROTECTION_ENABLED|CSRF_TOKEN_EXPIRATION)$/

/**
 * The profiles that are built into Prefect's clients, with their one setting that matters here: `default` is Prefect 2's,
 * the others are Prefect 3's.
 */
export const BUNDLED_PROFILES: ReadonlyMap<string, Readonly<Record<string, string>>> = new Map([
  ['ephemeral', {}],
  ['local', { PREFECT_API_URL: 'http://127.0.0.1:4200/api' }],
  ['test', {}],
  ['cloud', {}],
  ['default', {}],
])

/** What Prefect 3 falls back to; Prefect 2 falls back to `default`. */
export const FALLBACK_PROFILE = 'ephemeral'

/** Whether a profile of this name is built into Prefect, whatever the user's file says. */
export function isBundledProfileName(name: string): boolean {
  return BUNDLED_PROFILES.has(name)
}

/** Whether a login may not turn this profile into one of Prefect Cloud: Prefect's own clients rely on what it means. */
export function isNeverCloud(name: string): boolean {
  return isBundledProfileName(name) && name !== CLOUD_PROFILE
}

/** The one bundled profile that is meant for Prefect Cloud. */
export const CLOUD_PROFILE = 'cloud'

/** `prefect-auth login --profile work`; without a name for a bundled profile, which a login replaces by `cloud`. */
export function loginCommandFor(name: string): string {
  return isNeverCloud(name) ? 'prefect-auth login' : loginCommand(name)
}

/** Throws `profile_name_invalid` for a name that we would not create. A file may already contain any other name. */
export function requireNewProfileName(name: string): void {
  if (NEW_PROFILE_NAME.test(name)) return
  throw new BrokerError('profile_name_invalid', `${shownName(name)} cannot be the name of a new profile`, {
    hint: 'use letters, digits, "_", "-" and ".", at most 64 characters, starting with a letter or digit',
  })
}

/** The name in quotes, fit for one line of a message: TOML allows anything in a name. */
export function shownName(name: string): string {
  return `'${cleanText(name, 80)}'`
}
