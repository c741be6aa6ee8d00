/** What is in a kept file: a key, variables, or a profile file of its own. Pure. */

import { BrokerError } from '../base/errors.js'
import type { Served } from '../serve/credentials.js'
import type { FileContent } from '../wire/files.js'

/** Throws `profile_not_cloud` if a key is wanted and there is none. */
export function renderFile(what: FileContent, served: Served): string {
  switch (what) {
    case 'key':
      return `${keyOf(served)}\n`
    case 'env':
      return variables(served)
        .map(([name, value]) => `${name}=${quote(value)}\n`)
        .join('')
    case 'toml':
      return [
        `active = ${tomlText(served.profile)}`,
        '',
        `[profiles.${tomlText(served.profile)}]`,
        ...variables(served).map(([name, value]) => `${name} = ${tomlText(value)}`),
        '',
      ].join('\n')
  }
}

function keyOf({ apiKey, profile }: Served): string {
  if (apiKey !== undefined) return apiKey.reveal() // the file that its owner asked for
  throw new BrokerError('profile_not_cloud', `profile '${profile}' has no API key to put into a file`, {
    hint: 'prefect-auth file add PATH --what env',
  })
}

function variables(served: Served): readonly (readonly [string, string])[] {
  const all = {
    PREFECT_API_URL: served.apiUrl,
    PREFECT_API_KEY: served.apiKey?.reveal(), // the file that its owner asked for
    PREFECT_API_AUTH_STRING: served.authString?.reveal(), // the file that its owner asked for
    PREFECT_CLOUD_API_URL: served.cloudApiUrl,
    PREFECT_CLOUD_UI_URL: served.cloudUiUrl,
  }
  return Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]))
}

/** As systemd, docker compose and dotenv readers take it: single quotes are literal, else it cannot be said in all of them. */
function quote(value: string): string {
  if (/^[\w@%+=:,./-]*$/.test(value)) return value
  if (!/['\n\r]/.test(value)) return `'${value}'`
  return `"${value
    .replace(/[\\"$`]/g, '\\$&')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')}"`
}

/** A basic string of TOML, which is JSON's but for one character. */
function tomlText(text: string): string {
  return JSON.stringify(text).replaceAll('\u007f', '\\u007f')
}
