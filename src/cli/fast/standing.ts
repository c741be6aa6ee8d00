/** What stands around a job: settings of its environment and directory that win over its profile, or lose to it. */

import { GROUP_NAMES } from '../../wire/env-names.js'
import { type Env, type Source, settingsOfEnv } from './around.js'
import { leftBehind } from './host.js'

const HEADERS = 'PREFECT_CLIENT_CUSTOM_HEADERS'
const SKIP_VERIFY = 'PREFECT_API_TLS_INSECURE_SKIP_VERIFY'
const CA_FILE = 'PREFECT_API_SSL_CERT_FILE'

/** Where a client sends its requests, and as whom. */
const PAIR = [
  'PREFECT_API_URL',
  'PREFECT_API_KEY',
  'PREFECT_API_AUTH_STRING',
  'PREFECT_CLOUD_API_URL',
  'PREFECT_CLOUD_UI_URL',
]

type Served = Readonly<Record<string, string | undefined>>

/** `served`, with the groups that the files name: only a group in the environment wins over one in a file. */
export function withGroups<T extends Served>(files: readonly Source[], served: T): T & Served {
  const values = {
    PREFECT_API: {
      url: served.PREFECT_API_URL,
      key: served.PREFECT_API_KEY,
      auth_string: served.PREFECT_API_AUTH_STRING,
    },
    PREFECT_CLOUD: { api_url: served.PREFECT_CLOUD_API_URL, ui_url: served.PREFECT_CLOUD_UI_URL },
  }
  const named = Object.entries(values).filter(([name]) => files.some(({ settings }) => settings.has(name)))
  return { ...served, ...Object.fromEntries(named.map(([name, group]) => [name, JSON.stringify(group)])) }
}

/** Names of the pair in a file of the directory, unless `isOurs` says that the value is the profile's own. */
export function pairIn({ settings }: Source, isOurs: (name: string, value: string) => boolean): string[] {
  return [...PAIR, ...GROUP_NAMES].filter((name) => {
    const value = settings.get(name)
    // An empty one is a value: Prefect would obey it.
    return value !== undefined && !isOurs(name, value)
  })
}

/**
 * One sentence for each file that names an API. `served`: the variables of the job, of which the file fills what is missing.
 */
export function describeFiles(
  files: readonly Source[],
  served: Readonly<Record<string, string | undefined>>,
  profile: string,
): string[] {
  const isOurs = (name: string, value: string) => value === served[name] || isFromProxy(value)
  return files.flatMap((file) => {
    const names = pairIn(file, isOurs)
    if (names.length === 0) return []
    const winning = names.filter((name) => served[name] === undefined)
    const losing = names.filter((name) => !winning.includes(name))
    const parts = [
      losing.length === 0 ? [] : [`sets ${losing.join(', ')}; the values of profile '${profile}' win`],
      winning.length === 0 ? [] : [`sets ${winning.join(', ')}, which the command obeys`],
    ]
    return [`${file.place} in this directory ${parts.flat().join(', and ')}`]
  })
}

/** The job speaks to the daemon, and the daemon to Prefect. */
const WITHOUT_EFFECT = 'has no effect through the proxy, which trusts what the profile and the daemon trust'

/** One sentence for each setting that a client obeys beside its key or in place of it. `isProxied`: the job has a token of ours. */
export function describeSettings(sources: readonly Source[], isProxied: boolean): string[] {
  const first = (name: string) => sources.find(({ settings }) => (settings.get(name) ?? '') !== '')
  const skipping = first(SKIP_VERIFY)
  const trusting = first(CA_FILE)
  return [
    ...sources
      .filter((source) => authorizationsIn(source).length > 0)
      .map(
        ({ place }) =>
          `${HEADERS} in ${place} contains an Authorization, ${isProxied ? 'which the job does not get, because it would take the place of its token' : 'which Prefect sends in place of the key'}`,
      ),
    ...(skipping !== undefined && isTrue(skipping.settings.get(SKIP_VERIFY))
      ? [
          isProxied
            ? `${SKIP_VERIFY} in ${skipping.place} ${WITHOUT_EFFECT}`
            : `${SKIP_VERIFY} in ${skipping.place} switches the verification of TLS certificates off`,
        ]
      : []),
    ...(trusting === undefined
      ? []
      : [
          isProxied
            ? `${CA_FILE} in ${trusting.place} ${WITHOUT_EFFECT}`
            : `${CA_FILE} in ${trusting.place} decides which TLS certificates are trusted`,
        ]),
  ]
}

/** Where the pages of a server are, by what Prefect 3 prefers to the profile, and the place that says so. */
export function pagesIn(env: Env, files: readonly Source[]): { place: string; url: string } | undefined {
  const isLeft = leftBehind(env).includes('PREFECT_UI_URL')
  const sources = isLeft ? files : [settingsOfEnv(env), ...files]
  return sources.flatMap(({ place, settings }) => {
    const url = settings.get('PREFECT_UI_URL')
    return url ? { place, url } : []
  })[0]
}

/** One sentence if a job through the proxy has from elsewhere than a variable where its pages are. `served`: its variables. */
export function describePages(env: Env, files: readonly Source[], served: Served): string[] {
  const pages = pagesIn(env, files)
  const isNews =
    pages !== undefined && served.PREFECT_UI_URL === pages.url && env.PREFECT_UI_URL !== pages.url
  return isNews
    ? [
        `PREFECT_UI_URL in ${pages.place} says where the pages of the job are, to Prefect 2 as well, which ignores it`,
      ]
    : []
}

/** The names, as they are spelled, of custom headers that Prefect would send in place of its key. */
export function authorizationsIn({ settings }: Source): string[] {
  return [
    ...headersOf(settings.get(HEADERS)),
    ...headersOf(settings.get('PREFECT_CLIENT'), 'custom_headers'),
  ].filter((name) => name.toLowerCase() === 'authorization')
}

function headersOf(json: string | undefined, field?: string): string[] {
  if (json === undefined) return []
  try {
    const value: unknown = JSON.parse(json)
    const headers = field === undefined || !isObject(value) ? value : Reflect.get(value, field)
    return isObject(headers) ? Object.keys(headers) : []
  } catch {
    return []
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/** As pydantic reads a boolean. */
function isTrue(value: string | undefined): boolean {
  return ['1', 'true', 't', 'yes', 'y', 'on'].includes((value ?? '').toLowerCase())
}

/** Whether a value came from `env --proxy`: our token, or an address of our proxy. */
export function isFromProxy(value: string): boolean {
  return /^(?:prefect-auth:)?pab_|^http:\/\/(?:127\.0\.0\.1|localhost):\d+\/proxy\/[^/]+\/api(?:\/|$)/.test(
    value,
  )
}
