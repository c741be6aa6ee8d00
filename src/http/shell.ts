/** Variables as text that a shell evaluates: quoted by its rules, one statement per line. */
import type { FastifyRequest } from 'fastify'
import type { ErrorCode } from '../base/errors.js'
import { BrokerError } from '../base/errors.js'
import type { PrefectEnv } from '../wire/credentials.js'
import {
  ENV_NAMES,
  FOLLOW_NAMES,
  PROFILE_VARIABLE,
  PROXY_EXTRA_NAMES,
  SHADOW_NAMES,
} from '../wire/env-names.js'
import { DIALECTS, ENV_FORMATS, type ShellFormat } from '../wire/kinds.js'

const EXTRA_NAMES = [PROFILE_VARIABLE, ...PROXY_EXTRA_NAMES, ...FOLLOW_NAMES] as const
type ExtraName = (typeof EXTRA_NAMES)[number]
type EnvName = (typeof ENV_NAMES)[number] | ExtraName

/** How a format sets a variable, by its own quoting rules. */
const SET: Readonly<Record<ShellFormat, (name: EnvName, value: string) => string>> = {
  // The `;` is for people who forget the quotes around "$(curl …)", which joins the lines.
  sh: (name, value) => `export ${name}=${quoteSh(value)};`,
  fish: (name, value) => `set -gx ${name} ${quoteFish(value)};`,
  powershell: (name, value) => `$Env:${name} = ${quotePowershell(value)}`,
  dotenv: (name, value) => `${name}=${quoteDotenv(value)}`,
}

/**
 * All of Prefect's variables: those with a value are set, the others removed, so that nothing of an earlier profile
 * remains. `others` are set as well. Throws `api_url_invalid` for a value that an environment variable cannot hold.
 */
export function renderShell(
  format: ShellFormat,
  env: PrefectEnv,
  others: Readonly<Partial<Record<ExtraName, string | undefined>>> = {},
): string {
  const set = SET[format]
  const lines = ENV_NAMES.flatMap((name) => {
    const value = env[name]
    return value === undefined ? (DIALECTS[format].unset(name) ?? []) : set(name, representable(name, value))
  })
  for (const name of EXTRA_NAMES) {
    const value = others[name]
    if (value !== undefined) lines.push(set(name, representable(name, value)))
  }
  return lines.map((line) => `${line}\n`).join('')
}

/**
 * Removes what Prefect 3 might prefer to our variables. Goes before `renderShell`: Windows takes a name in small letters for the
 * same variable.
 */
export function renderRemovals(format: ShellFormat): string {
  return SHADOW_NAMES.flatMap((name) => DIALECTS[format].unset(name) ?? [])
    .map((line) => `${line}\n`)
    .join('')
}

function representable(name: EnvName, value: string): string {
  if (!value.includes('\0')) return value
  throw new BrokerError(
    'api_url_invalid',
    `${name} contains a NUL character, which an environment variable cannot hold`,
  )
}

/** A failure as the one line that a shell evaluates. */
export function failureLine(format: ShellFormat, code: ErrorCode): string {
  return `${DIALECTS[format].fail(code)}\n`
}

/** The format in which a failure of this request is evaluated; `undefined` if by no shell. Never throws. */
export function shellOf(request: FastifyRequest): ShellFormat | undefined {
  if (request.routeOptions.url !== '/v1/env') return undefined
  // Who accepts problem details reads the status first: it gets the reason, and need not ask again to learn it.
  if (request.headers.accept?.includes('application/problem+json')) return undefined
  const said = request.method === 'POST' ? request.body : request.query
  const asked = typeof said === 'object' && said !== null && 'format' in said ? said.format : 'sh'
  if (asked === 'json') return undefined
  // An unknown format is most likely meant for a shell that resembles sh.
  return ENV_FORMATS.find((format): format is ShellFormat => format === asked) ?? 'sh'
}

/** Between single quotes only the quote itself is special. */
export function quoteSh(value: string): string {
  return `'${value.replaceAll("'", "'\\''")}'`
}

/** In fish `\` and `'` are special; line breaks go outside the quotes, because `eval (curl …)` would split there. */
export function quoteFish(value: string): string {
  const quoted = value
    .replaceAll('\\', '\\\\')
    .replaceAll("'", "\\'")
    .replaceAll('\n', "'\\n'")
    .replaceAll('\r', "'\\r'")
  return `'${quoted}'`
}

/**
 * PowerShell accepts five characters as a single quote; doubling one makes it literal. Line breaks are spelled out,
 * because `curl … | iex` evaluates line by line.
 */
export function quotePowershell(value: string): string {
  const quoted = `'${value.replace(/['\u2018\u2019\u201a\u201b]/g, '$&$&')}'`
  if (!/[\r\n]/.test(quoted)) return quoted
  return `(${quoted.replaceAll('\n', "' + [char]10 + '").replaceAll('\r', "' + [char]13 + '")})`
}

/** Bare if possible (docker keeps quotes as they are), else quoted as most readers expect; always one line. */
export function quoteDotenv(value: string): string {
  if (/^[\w@%+:,./=~-]*$/.test(value)) return value
  if (!/['\\\r\n]/.test(value)) return `'${value}'`
  const escaped = value
    .replace(/["\\$`]/g, '\\$&')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
  return `"${escaped}"`
}
