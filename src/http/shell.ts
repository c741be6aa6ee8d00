/** Variables as text that a shell evaluates: every value quoted by that shell's own rules, one statement a line. */
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
  /** `undefined` where the format has no way to say it. */
  unset(name: EnvName): string | undefined
  /** A fixed text with nothing in it but our own code; evaluated, it fails. */
  fail(code: ErrorCode): string
}

const failInSh = (code: ErrorCode) => `echo 'prefect-auth: ${code}' >&2; false`

const DIALECTS: Readonly<Record<TextFormat, Dialect>> = {
  sh: {
    // The `;` is for those who forget the quotes around "$(curl …)", which joins the lines.
    set: (name, value) => `export ${name}=${quoteSh(value)};`,
    unset: (name) => `unset ${name};`,
    fail: failInSh,
  },
  fish: {
    set: (name, value) => `set -gx ${name} ${quoteFish(value)};`,
    // Removing what is not there is a failure in fish, and `set` would pass that outcome on.
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
    // No dotenv reader takes it for a value, and a shell that sources the file fails.
    fail: failInSh,
  },
}

/**
 * All of Prefect's variables: those with a value are set, the others removed, so that nothing of an earlier profile stays.
 * `others` are set besides. Throws `api_url_invalid` for a value that no environment can hold.
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
  throw new BrokerError('api_url_invalid', `${name} has a NUL character in it, which no environment can hold`)
}

/** The one line that a failure is, in a format that a shell evaluates. */
export function failureLine(format: TextFormat, code: ErrorCode): string {
  return `${DIALECTS[format].fail(code)}\n`
}

/** The format in which this request's failure will be evaluated; `undefined`: nobody evaluates it. Never throws. */
export function shellOf(request: FastifyRequest): TextFormat | undefined {
  if (request.routeOptions.url !== '/v1/env') return undefined
  // Who accepts problem details reads the status first: it gets the reason, and need not ask again to learn it.
  if (request.headers.accept?.includes('application/problem+json')) return undefined
  const said = request.method === 'POST' ? request.body : request.query
  const asked = typeof said === 'object' && said !== null && 'format' in said ? said.format : 'sh'
  if (asked === 'json') return undefined
  // An unknown format is most likely evaluated by the shell that sh is closest to.
  return asked === 'fish' || asked === 'powershell' || asked === 'dotenv' ? asked : 'sh'
}

/** Nothing is special between single quotes but the quote itself. */
export function quoteSh(value: string): string {
  return `'${value.replaceAll("'", "'\\''")}'`
}

/** In fish `\` and `'` are; line breaks stand outside, because `eval (curl …)` would split there. */
export function quoteFish(value: string): string {
  const quoted = value
    .replaceAll('\\', '\\\\')
    .replaceAll("'", "\\'")
    .replaceAll('\n', "'\\n'")
    .replaceAll('\r', "'\\r'")
  return `'${quoted}'`
}

/**
 * PowerShell takes five characters for a single quote, each doubled to mean itself. Line breaks are spelled out:
 * `curl … | iex` evaluates line by line.
 */
export function quotePowershell(value: string): string {
  const quoted = `'${value.replace(/['\u2018\u2019\u201a\u201b]/g, '$&$&')}'`
  if (!/[\r\n]/.test(quoted)) return quoted
  return `(${quoted.replaceAll('\n', "' + [char]10 + '").replaceAll('\r', "' + [char]13 + '")})`
}

/** Bare where it can be (docker keeps quotes as they are), else as most readers take it; always one line. */
export function quoteDotenv(value: string): string {
  if (/^[\w@%+:,./=~-]*$/.test(value)) return value
  if (!/['\\\r\n]/.test(value)) return `'${value}'`
  const escaped = value
    .replace(/["\\$`]/g, '\\$&')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
  return `"${escaped}"`
}
