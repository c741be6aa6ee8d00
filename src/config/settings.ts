/**
 * The settings: one schema for flags, environment, config.toml and defaults, in this order of precedence.
 * An unknown or invalid setting stops the start with its name, its source and the allowed values.
 */
import { parse as parseToml } from 'smol-toml'
import { z } from 'zod'
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../std/clock.js'
import { formatDuration, parseDuration } from '../std/time.js'
import { OWN_VARIABLES } from './paths.js'
import { resolveShares, type Shares } from './shares.js'

/** A duration as text; milliseconds in the settings. */
const duration = (minMs: number, maxMs: number) =>
  z.string().transform((text, context) => {
    const ms = parseDuration(text)
    if (ms !== undefined && ms >= minMs && ms <= maxMs) return ms
    context.addIssue({
      code: 'custom',
      message: `a duration like 90s, 15m, 8h or 30d, from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`,
    })
    return z.NEVER
  })

const oneOf = <const T extends readonly [string, ...string[]]>(values: T) =>
  z.enum(values, { error: `one of ${values.join(', ')}` })

const flag = z.union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')], {
  error: 'true or false',
})

const port = z.unknown().transform((value, context) => {
  if (value === 'off') return 'off' as const
  const number = typeof value === 'string' && /^\d{1,5}$/.test(value) ? Number(value) : value
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= 65535) return number
  context.addIssue({ code: 'custom', message: 'a port number from 0 (any free port) to 65535, or "off"' })
  return z.NEVER
})

/** `off`, or milliseconds. */
const durationOrOff = (minMs: number, maxMs: number) =>
  z.union([z.literal('off'), duration(minMs, maxMs)], {
    error: `"off", or a duration like 90s, 15m, 8h or 30d, from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`,
  })

const names = z.union(
  [z.array(z.string()), z.string().transform((text) => text.split(',').map((part) => part.trim()))],
  {
    error: 'a list of strings',
  },
)

/** Nothing that makes or reads keys can be allowed, and no other account or workspace can be named. */
const operation = z
  .string()
  .regex(
    /^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (?:\/(?!\.{1,2}(?:\/|$))[\w.~-]+|\/\{\w+\})+\/?$/,
    'operations like `DELETE /accounts/{account}/workspaces/{workspace}/user_access/{id}`',
  )
  .refine((text) => !/\/(?:bots|service[_-]?accounts|(?:rotate[_-])?api[_-]?keys?)/i.test(text), {
    error: 'operations that do not create or read API keys',
  })

/** Every setting with its default and its meaning in one line; the README's table is made from these. */
export const SETTINGS = {
  port: { schema: port, default: 4280, meaning: 'loopback TCP port; 0: any free one; off: no TCP' },
  'listen.hosts': {
    schema: names.pipe(z.array(z.string().regex(/^[A-Za-z0-9.-]+(:\d{1,5})?$/, 'host or host:port'))),
    default: [],
    meaning: 'further Host headers to accept on TCP, such as `host.docker.internal:4280`',
  },
  'listen.restricted_socket': {
    schema: z.string().startsWith('/', 'an absolute path'),
    default: undefined,
    meaning: 'path of a second unix socket, which requires a token; for mounting into containers',
  },
  'listen.recogniser': {
    schema: oneOf(['auto', 'off']),
    default: 'auto',
    meaning:
      'auto: read plain requests without the parser of Node, which costs more; off: never (docs/speed.md)',
  },
  'proxy.allow': {
    schema: names.pipe(z.array(operation)),
    default: [],
    meaning:
      'operations to let through the proxy besides those it lets through anyway, as `status` names them: `DELETE /admin/storage`',
  },
  'asks.profiles': {
    schema: names.pipe(z.array(z.string().min(1))),
    default: [],
    meaning: 'profiles whose tokens ask before every write, as with `--ask write` (docs/asks.md)',
  },
  idle_exit: {
    // With less, systemd would see too many starts and close the sockets.
    schema: durationOrOff(10 * SECOND_MS, 30 * DAY_MS),
    default: 'off',
    meaning: 'exit after this time without a request; the next request starts the daemon (docs/service.md)',
  },
  'login.timeout': {
    schema: duration(5 * SECOND_MS, HOUR_MS),
    default: '10m',
    meaning: 'how long a login waits for the browser',
  },
  'login.state_in_path': {
    schema: flag,
    default: false,
    meaning: 'experimental: put a 256-bit state into the callback path',
  },
  'renewal.key_lifetime': {
    schema: duration(HOUR_MS, 365 * DAY_MS),
    default: '30d',
    meaning: 'lifetime of minted keys',
  },
  'renewal.retire_after': {
    schema: duration(MINUTE_MS, 365 * DAY_MS),
    default: undefined,
    meaning: 'delete a replaced key at Prefect after this time; unset: let it expire',
  },
  'profiles.adopt': {
    schema: oneOf(['report', 'auto']),
    default: 'report',
    meaning: 'for a plain-text key that appears in profiles.toml: report it, or move it into the vault',
  },
  'profiles.mirror': {
    schema: flag,
    default: false,
    meaning: 'keep the current key in profiles.toml, for tools that read only that',
  },
  'vault.backend': {
    schema: oneOf(['auto', 'keychain', 'file']),
    default: 'auto',
    meaning: 'where keys are stored; auto decides once, at the first start',
  },
  'vault.key_wrap': {
    schema: oneOf(['auto', 'systemd-creds', 'passphrase', 'key-file']),
    default: 'auto',
    meaning: 'what protects the data key of the file vault',
  },
  'vault.passphrase_file': {
    schema: z.string().startsWith('/', 'an absolute path'),
    default: undefined,
    meaning: 'file (mode 0600) whose first line unlocks a passphrase vault at start',
  },
  'log.level': {
    schema: oneOf(['debug', 'info', 'warn', 'error']),
    default: 'info',
    meaning: 'least severe level to log',
  },
} as const

type SettingName = keyof typeof SETTINGS

/** Frozen; durations in milliseconds. */
export type Settings = {
  readonly [Name in SettingName]:
    | z.output<(typeof SETTINGS)[Name]['schema']>
    | ((typeof SETTINGS)[Name]['default'] extends undefined ? undefined : never)
}

/** Variables that are not settings: paths that clients need too, and what concerns only them. */
const OTHER_VARIABLES: readonly string[] = [
  'PREFECT_AUTH_CONFIG',
  'PREFECT_AUTH_STATE_DIR',
  'PREFECT_AUTH_SOCKET',
  ...OWN_VARIABLES,
]

interface SettingsProblem {
  /** One sentence: the name, its source, and the allowed values. */
  readonly message: string
}

interface SettingsSources {
  /** `{'log.level': 'debug'}` */
  readonly flags: Readonly<Record<string, string>>
  readonly env: Readonly<Record<string, string | undefined>>
  /** Absent if there is no file. */
  readonly file?: { readonly path: string; readonly text: string }
}

type SettingsOutcome =
  | { readonly kind: 'settings'; readonly settings: Settings; readonly shares: Shares }
  | { readonly kind: 'problems'; readonly problems: readonly SettingsProblem[] }

interface Given {
  readonly value: unknown
  readonly where: string
}

/** Flags beat environment beats file beats defaults. Returns all problems at once. */
export function resolveSettings(sources: SettingsSources): SettingsOutcome {
  const problems: SettingsProblem[] = []
  const given = new Map<string, Given>([
    ...fromFile(sources.file, problems),
    ...fromEnv(sources.env, problems),
    ...fromFlags(sources.flags, problems),
  ])
  const shape = Object.fromEntries(
    Object.entries(SETTINGS).map(([name, setting]) => [name, setting.schema.optional()]),
  )
  const values: Record<string, unknown> = {}
  for (const [name, setting] of Object.entries(SETTINGS)) {
    const { value, where } = given.get(name) ?? { value: setting.default, where: 'the default' }
    const parsed = shape[name]?.safeParse(value)
    if (parsed?.success) values[name] = parsed.data
    else problems.push(badValue(name, where, parsed?.error))
  }
  const shares = resolveShares(sources.file, problems)
  if (problems.length > 0) return { kind: 'problems', problems }
  return { kind: 'settings', settings: Object.freeze(settingsShape.parse(values)), shares }
}

/** The values have been parsed: this restores their type without a cast. */
const settingsShape = z.custom<Settings>((value) => typeof value === 'object' && value !== null)

function badValue(name: string, where: string, error: z.ZodError | undefined): SettingsProblem {
  const allowed = error?.issues.map(({ message }) => message).join('; ') ?? 'nothing'
  return { message: `setting ${name} in ${where} is not valid: expected ${allowed}` }
}

function unknown(name: string, where: string): SettingsProblem {
  return {
    message: `unknown setting ${name} in ${where}; known settings: ${Object.keys(SETTINGS).join(', ')}`,
  }
}

function isSetting(name: string): name is SettingName {
  return Object.hasOwn(SETTINGS, name)
}

function fromFlags(flags: SettingsSources['flags'], problems: SettingsProblem[]): [string, Given][] {
  return Object.entries(flags).flatMap(([name, value]): [string, Given][] => {
    if (isSetting(name)) return [[name, { value, where: `the flag --${flagName(name)}` }]]
    problems.push(unknown(name, 'the flags'))
    return []
  })
}

/** `log.level` is `--log-level`. */
export function flagName(name: string): string {
  return name.replaceAll('.', '-').replaceAll('_', '-')
}

/** `a.b_c` is `PREFECT_AUTH_A_B_C`. */
export function variableName(name: string): string {
  return `PREFECT_AUTH_${name.replaceAll('.', '_').toUpperCase()}`
}

function fromEnv(env: SettingsSources['env'], problems: SettingsProblem[]): [string, Given][] {
  const byVariable = new Map(Object.keys(SETTINGS).map((name) => [variableName(name), name]))
  return Object.entries(env).flatMap(([variable, value]): [string, Given][] => {
    if (!variable.startsWith('PREFECT_AUTH_') || value === undefined || OTHER_VARIABLES.includes(variable))
      return []
    const name = byVariable.get(variable)
    if (name !== undefined) return [[name, { value, where: `the environment variable ${variable}` }]]
    problems.push({
      message: `unknown setting in the environment variable ${variable}; known variables: ${[...byVariable.keys(), ...OTHER_VARIABLES].join(', ')}`,
    })
    return []
  })
}

function fromFile(file: SettingsSources['file'], problems: SettingsProblem[]): [string, Given][] {
  if (file === undefined) return []
  try {
    return flatten(parseToml(file.text)).flatMap(([name, value]): [string, Given][] => {
      if (isSetting(name)) return [[name, { value, where: file.path }]]
      if (name.startsWith('share.')) return []
      problems.push(unknown(name, file.path))
      return []
    })
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : ''
    problems.push({ message: `${file.path} is not valid TOML: ${reason}` })
    return []
  }
}

function flatten(table: Readonly<Record<string, unknown>>, prefix = ''): [string, unknown][] {
  return Object.entries(table).flatMap(([key, value]): [string, unknown][] =>
    isTable(value) ? flatten(value, `${prefix}${key}.`) : [[`${prefix}${key}`, value]],
  )
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}
