/** Variables as text that a shell evaluates: each value quoted by that shell's rules, one statement per line. */
import type { FastifyRequest } from 'fastify'
import type { ErrorCode } from '../base/errors.js'
import { BrokerError } from '../base/errors.js'
import { ENV_NAMES, type EnvFormat, type PrefectEnv } from '../wire/credentials.js'
import { PROXY_EXTRA_NAMES } from '../wire/env-names.js'

type TextFormat = Exclude<EnvFormat, 'json'>
type ExtraName = (typeof PROXY_EXTRA_NAMES)[number]
type EnvName = (typeof ENV_NAMES)[number] | ExtraName

/** How one shell sets, removes and fails. */
interface Dialect {
  set(name: EnvName, value: string): string
  /** `undefined` if the format cannot express it. */
  unset(name: EnvName): string | undefined
  /** A fixed text with nothing variable in it but our own code; fails when evaluated. */
  fail(code: ErrorCode): string
}

const failInSh = (code: ErrorCode) => `echo 'prefect-auth: ${code}' >&2; false`

const DIALECTS: Readonly<Record<TextFormat, Dialect>> = {
  sh: {
    // The `;` helps if the quotes around "$(curl …)" are forgotten, which joins the lines.
    set: (name, value) => `export ${name}=${quoteSh(value)};`,
    unset: (name) => `unset ${name};`,
    fail: failInSh,
  },
  fish: {
    set: (name, value) => `set -gx ${name} ${quoteFish(value)};`,
    // In fish, removing a variable that is not set fails, and `set` would be the last status.
    unset: (name) => `set -e ${name}; or true;`,
    fail: failInSh,
  },
  powershell: {
    set: (name, value) => `$Env:${name} = ${quotePowershell(value)}`,
    unset: (name) => `Remove-Item Env:${name} -ErrorAction SilentlyContinue`,
    fail: (code) => `throw 'prefect-auth: ${code}'`,
  },
  dotenv: {
    set: (name, value) => `${name}=${quoteDotenv(value)}`,
    unset: () => undefined,
    // No dotenv reader takes this for a value, and a shell that sources the file fails.
    fail: failInSh,
  },
}

/**
 * All of Prefect's variables: those with a value are set, the others removed, so that nothing of an earlier profile
 * remains. `others` are set as well. Throws `api_url_invalid` for a value that an environment variable cannot hold.
 */
export function renderShell(
  format: TextFormat,
  env: PrefectEnv,
  others: Readonly<Partial<Record<ExtraName, string | undefined>>> = {},
): string {
  const dialect = DIALECTS[format]
  const lines = ENV_NAMES.flatMap((name) => {
    const value = env[name]
    return value === undefined ? (dialect.unset(name) ?? []) : dialect.set(name, representable(name, value))
  })
  for (const name of PROXY_EXTRA_NAMES) {
    const value = others[name]
    if (value !== undefined) lines.push(dialect.set(name, representable(name, value)))
  }
  return lines.map((line) => `${line}\n`).join('')
}

function representable(name: EnvName, value: string): string {
  if (!value.includes('\0')) return value
  throw new BrokerError(
    'api_url_invalid',
    `${name} contains a NUL character, which an environment variable cannot hold`,
  )
}

/** A failure as the one line that a shell evaluates. */
export function failureLine(format: TextFormat, code: ErrorCode): string {
  return `${DIALECTS[format].fail(code)}\n`
}

/** The format in which a failure of this request is evaluated; `undefined` if by no shell. Never throws. */
export function shellOf(request: FastifyRequest): TextFormat | undefined {
  if (request.routeOptions.url !== '/v1/env') return undefined
  const said = request.method === 'POST' ? request.body : request.query
  const asked = typeof said === 'object' && said !== null && 'format' in said ? said.format : 'sh'
  if (asked === 'json') return undefined
  // An unknown format is most likely meant for a shell that resembles sh.
  return asked === 'fish' || asked === 'powershell' || asked === 'dotenv' ? asked : 'sh'
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
