/** Closed lists on the wire: error kinds and formats of `env`. Without zod, for a fast start. */

/** Who has to act on an error. HTTP maps kinds to statuses, the command line maps them to exit codes. */
export const ERROR_KINDS = [
  'invalid',
  'unauthorized',
  'login',
  'denied',
  'misdirected',
  'not_found',
  'conflict',
  'too_large',
  'unsupported',
  'too_many',
  'unavailable',
  'upstream',
  'internal',
] as const

export type ErrorKind = (typeof ERROR_KINDS)[number]

export const ENV_FORMATS = ['sh', 'fish', 'powershell', 'dotenv', 'json'] as const

export type EnvFormat = (typeof ENV_FORMATS)[number]

/** The formats that a shell evaluates. */
export type ShellFormat = Exclude<EnvFormat, 'json'>

/** How a shell removes a variable, and how it fails: one statement, without a line break. */
interface Dialect {
  /** `undefined` if the format cannot express it. */
  unset(name: string): string | undefined
  /** `code` must be `[a-z_]+`: it is not quoted. */
  fail(code: string): string
}

const failInSh = (code: string) => `echo 'prefect-auth: ${code}' >&2; false`

export const DIALECTS: Readonly<Record<ShellFormat, Dialect>> = {
  sh: { unset: (name) => `unset ${name};`, fail: failInSh },
  // Removing a variable that is not set fails in fish, and `set` would pass that status on.
  fish: { unset: (name) => `set -e ${name}; or true;`, fail: failInSh },
  powershell: {
    unset: (name) => `Remove-Item Env:${name} -ErrorAction SilentlyContinue`,
    fail: (code) => `throw 'prefect-auth: ${code}'`,
  },
  // No dotenv reader takes this failure for a value, and a shell that sources the file fails.
  dotenv: { unset: () => undefined, fail: failInSh },
}

/** A name that shells, TOML and Prefect's clients take without surprises. */
export const NEW_PROFILE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/

/** What a file that is kept up to date holds. */
export const FILE_CONTENTS = ['key', 'env', 'toml'] as const

/** What an operation of Prefect's API does, from harmless to far-reaching. */
export const EFFECTS = ['reads', 'runs', 'works', 'deploys', 'administers'] as const

export type Effect = (typeof EFFECTS)[number]

/** What a token may do at Prefect. */
export const POLICY_NAMES = ['read', 'run', 'work', 'deploy', 'all'] as const

export type PolicyName = (typeof POLICY_NAMES)[number]

/** Which requests of a token wait until the owner has said yes: those that write, or all but the bookkeeping of runs. */
export const ASK_MODES = ['write', 'all'] as const

export type AskMode = (typeof ASK_MODES)[number]

/** The largest number that a budget takes. */
export const MOST_IN_BUDGET = 100_000
