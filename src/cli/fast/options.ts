/** The arguments of `env` and `exec`, parsed without a command-line package; no argument may be a key. */
import type { Failure } from '../../client/failure.js'
import { defined } from '../../std/defined.js'
import { ENV_FORMATS, type EnvFormat } from '../../wire/kinds.js'
import { LIMITS, type Limits, readLimits } from './limits.js'

export type FastPlan =
  | {
      readonly kind: 'env'
      readonly profile?: string
      readonly format: EnvFormat
      readonly isProxied: boolean
      readonly mayBeNone: boolean
      /** For the hook of a shell: nothing that the user set is touched. */
      readonly isFollowing: boolean
      readonly limits: Limits
    }
  | {
      readonly kind: 'exec'
      readonly profile?: string
      readonly command: string
      readonly args: readonly string[]
      readonly isProxied: boolean
      readonly mayBeNone: boolean
      readonly limits: Limits
      /** It is to be kept away from the owner's socket. */
      readonly isAgent?: true
    }
  | { readonly kind: 'help' }
  | { readonly kind: 'usage'; readonly message: string }

type NoPlan = Extract<FastPlan, { kind: 'help' | 'usage' }>

/** `-p NAME COMMAND …`, which is Prefect's own order, as `COMMAND … -p NAME`. Other orders are returned as they are. */
export function commandFirst(argv: readonly string[]): readonly string[] {
  let at = 0
  for (let word = argv[at]; word !== undefined; word = argv[at]) {
    if (word === '-p' || word === '--profile') at += 2
    else if (/^(--profile=|-p).|^--json$/.test(word)) at += 1
    else break
  }
  const [command, ...rest] = argv.slice(at)
  if (at === 0 || command === undefined || command.startsWith('-')) return argv
  const options = argv.slice(0, at)
  // What follows exec's own options belongs to its command.
  if (command === 'agent') return [command, ...rest.slice(0, 1), ...options, ...rest.slice(1)]
  if (command === 'exec' || command === 'env') return [command, ...options, ...rest]
  const end = rest.indexOf('--')
  if (end < 0) return [command, ...rest, ...options]
  return [command, ...rest.slice(0, end), ...options, ...rest.slice(end)]
}

/** What `prefect-auth env …` asks for; `args` are the words after `env`. */
export function parseEnvArguments(args: readonly string[]): FastPlan {
  if (args.some(looksLikeKey)) return usage(KEY_ARGUMENT.detail)
  const read = readOptions(args, ['profile', 'format', ...LIMITS])
  if (read.kind !== 'options') return read
  if (read.rest.length > 0) return usage('env takes no arguments; name a profile with --profile')
  const wanted = read.isJson ? 'json' : (read.values.get('format') ?? 'sh')
  const format = ENV_FORMATS.find((known) => known === wanted)
  if (format === undefined) return usage(`--format must be one of ${ENV_FORMATS.join(', ')}`)
  const { isProxied, mayBeNone, isFollowing } = read
  const limits = limitsOf(read)
  if (limits.kind === 'usage') return limits
  if (isFollowing && (isProxied || format === 'json'))
    return usage('--follow goes with a shell format, and not with --proxy')
  const rest = { isProxied, mayBeNone, isFollowing, limits: limits.value }
  return { kind: 'env', format, ...rest, ...profileOf(read) }
}

/** What `prefect-auth exec …` asks for. Everything after `--`, or after the first word, belongs to the command. */
export function parseExecArguments(args: readonly string[]): FastPlan {
  const read = readOptions(args, ['profile', ...LIMITS])
  if (read.kind !== 'options') return read
  const [command, ...rest] = read.rest
  // A key among the command's own arguments is the command's business.
  const ours = args.slice(0, args.length - rest.length)
  if (ours.some(looksLikeKey)) return usage(KEY_ARGUMENT.detail)
  if (command === undefined || command === '')
    return usage('exec needs a command: prefect-auth exec -- CMD …')
  const limits = limitsOf(read)
  if (limits.kind === 'usage') return limits
  return {
    kind: 'exec',
    command,
    args: rest,
    isProxied: read.isProxied,
    mayBeNone: read.mayBeNone,
    limits: limits.value,
    ...profileOf(read),
  }
}

/** Without `--may`, what changes something waits; a program that loops must not use up what Prefect Cloud grants the account. */
const AGENT_MAY = { may: 'read', ask: 'write' } as const
const AGENT_BUDGET = { writes_per_hour: 30, requests_per_minute: 120 } as const

/** What `prefect-auth agent run …` asks for. */
export function parseAgentArguments(args: readonly string[]): FastPlan {
  const [word, ...rest] = args
  if (word !== 'run') return { kind: 'help' }
  const plan = parseExecArguments(['--proxy', ...rest])
  if (plan.kind === 'usage') return usage(plan.message.replaceAll('exec', 'agent run'))
  if (plan.kind !== 'exec') return plan
  if (plan.mayBeNone)
    return usage('--allow-none: an agent without a profile needs no token; run the command itself')
  const { limits } = plan
  const chosen = limits.may === undefined ? { ...AGENT_MAY, ...limits } : limits
  return { ...plan, isAgent: true, limits: { ...AGENT_BUDGET, ...chosen } }
}

/** They are about the token of a job, which there is only with the proxy. */
function limitsOf({ all, isProxied }: Options): ReturnType<typeof readLimits> {
  const given = LIMITS.filter((name) => all.has(name))
  if (given.length > 0 && !isProxied)
    return {
      kind: 'usage',
      message: `${list(given)}: without --proxy there is no token to limit, and the key itself is handed out; add --proxy`,
    }
  return readLimits(all)
}

const WANTED = ['key', 'url', 'json'] as const
export type Wanted = (typeof WANTED)[number]

/** What `prefect-auth get …` asks for. */
export function parseGetArguments(
  args: readonly string[],
): { readonly kind: 'get'; readonly what: Wanted; readonly profile?: string } | NoPlan {
  if (args.some(looksLikeKey)) return usage(KEY_ARGUMENT.detail)
  const before = readOptions(args, ['profile'])
  if (before.kind !== 'options') return before
  const [word, ...rest] = before.rest
  const after = readOptions(rest, ['profile'])
  if (after.kind !== 'options') return after
  const what = WANTED.find((one) => one === word)
  if (what === undefined || after.rest.length > 0) return usage(`get needs one of ${WANTED.join(', ')}`)
  if ([before, after].some(({ isProxied, mayBeNone }) => isProxied || mayBeNone))
    return usage('get has no option but --profile')
  return { kind: 'get', what, ...profileOf(before), ...profileOf(after) }
}

interface Options {
  readonly kind: 'options'
  /** The last value of each option. */
  readonly values: ReadonlyMap<string, string>
  /** Every value of each option. */
  readonly all: ReadonlyMap<string, readonly string[]>
  readonly isJson: boolean
  readonly isProxied: boolean
  readonly mayBeNone: boolean
  readonly isFollowing: boolean
  readonly rest: readonly string[]
}

const SWITCHES = { '--proxy': 'isProxied', '--allow-none': 'mayBeNone' } as const
/** Of `env` alone. */
const ENV_SWITCHES = { ...SWITCHES, '--json': 'isJson', '--follow': 'isFollowing' } as const

function readOptions(args: readonly string[], known: readonly string[]): Options | NoPlan {
  const switches: Readonly<Record<string, 'isProxied' | 'mayBeNone' | 'isJson' | 'isFollowing' | undefined>> =
    known.includes('format') ? ENV_SWITCHES : SWITCHES
  const values = new Map<string, string>()
  const all = new Map<string, readonly string[]>()
  const given = { isProxied: false, mayBeNone: false, isJson: false, isFollowing: false }
  for (let at = 0; at < args.length; at += 1) {
    const word = args[at] ?? ''
    if (word === '--') return { kind: 'options', values, all, ...given, rest: args.slice(at + 1) }
    if (!word.startsWith('-') || word === '-')
      return { kind: 'options', values, all, ...given, rest: args.slice(at) }
    if (word === '--help' || word === '-h') return { kind: 'help' }
    const name = switches[word]
    if (name !== undefined) {
      given[name] = true
      continue
    }
    const option = readOption(word)
    // The word is not repeated: it may be a key in the wrong place.
    if (option === undefined || !known.includes(option.name))
      return usage(`unknown option; known options: ${list(known)}`)
    const value = option.value ?? args[at + 1]
    if (option.value === undefined) at += 1
    const isMissing = value === undefined || value === '' || (value === '--' && option.value === undefined)
    if (isMissing) return usage(`--${option.name} needs a value`)
    values.set(option.name, value)
    all.set(option.name, [...(all.get(option.name) ?? []), value])
  }
  return { kind: 'options', values, all, ...given, rest: [] }
}

/** `--name`, `--name=value`, `-p` or `-pvalue`. */
function readOption(word: string): { readonly name: string; readonly value: string | undefined } | undefined {
  const [, long, given] = /^--([a-z-]+)(?:=([\s\S]*))?$/.exec(word) ?? []
  if (long !== undefined) return { name: long, value: given }
  const [short, attached] = /^-p([\s\S]+)?$/.exec(word) ?? []
  return short === undefined ? undefined : { name: 'profile', value: attached }
}

function profileOf({ values }: Options): { readonly profile?: string } {
  return defined({ profile: values.get('profile') })
}

function usage(message: string): NoPlan {
  return { kind: 'usage', message }
}

function list(known: readonly string[]): string {
  return known.map((name) => `--${name}`).join(', ')
}

const KEY = /(?:^|[=:,\s"'])(?:pn[a-z]_[A-Za-z0-9]{8,}|pab_[A-Za-z0-9_-]{20,})/

/** The failure of every command that finds a key among its arguments. */
export const KEY_ARGUMENT: Failure = {
  code: 'usage',
  kind: 'usage',
  detail:
    'an argument looks like a key or a token; other processes can read it, and the shell saves it.\n' +
    'Nothing was done with it. Delete the line from your shell history',
  hint: 'prefect-auth login --key-stdin < FILE      (or run prefect-auth login and paste the key there)',
}

/** Whether a word contains a Prefect key or a token of ours. */
export function looksLikeKey(word: string): boolean {
  return KEY.test(word)
}
