/** The arguments of `env` and `exec`, parsed without a command-line package; no argument may be a key. */
import type { Failure } from '../../client/failure.js'
import { defined } from '../../std/defined.js'
import { ENV_FORMATS, type EnvFormat } from '../../wire/kinds.js'

export type FastPlan =
  | {
      readonly kind: 'env'
      readonly profile?: string
      readonly format: EnvFormat
      readonly isProxied: boolean
      readonly mayBeNone: boolean
    }
  | {
      readonly kind: 'exec'
      readonly profile?: string
      readonly command: string
      readonly args: readonly string[]
      readonly isProxied: boolean
      readonly mayBeNone: boolean
    }
  | { readonly kind: 'help' }
  | { readonly kind: 'usage'; readonly message: string }

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
  if (command === 'exec' || command === 'env') return [command, ...options, ...rest]
  const end = rest.indexOf('--')
  if (end < 0) return [command, ...rest, ...options]
  return [command, ...rest.slice(0, end), ...options, ...rest.slice(end)]
}

/** What `prefect-auth env …` asks for; `args` are the words after `env`. */
export function parseEnvArguments(args: readonly string[]): FastPlan {
  if (args.some(looksLikeKey)) return usage(KEY_ARGUMENT.detail)
  const read = readOptions(args, ['profile', 'format'])
  if (read.kind !== 'options') return read
  if (read.rest.length > 0) return usage('env takes no arguments; name a profile with --profile')
  const wanted = read.isJson ? 'json' : (read.values.get('format') ?? 'sh')
  const format = ENV_FORMATS.find((known) => known === wanted)
  if (format === undefined) return usage(`--format must be one of ${ENV_FORMATS.join(', ')}`)
  return { kind: 'env', format, isProxied: read.isProxied, mayBeNone: read.mayBeNone, ...profileOf(read) }
}

/** What `prefect-auth exec …` asks for. Everything after `--`, or after the first word, belongs to the command. */
export function parseExecArguments(args: readonly string[]): FastPlan {
  const read = readOptions(args, ['profile'])
  if (read.kind !== 'options') return read
  const [command, ...rest] = read.rest
  // A key among the command's own arguments is the command's business.
  const ours = args.slice(0, args.length - rest.length)
  if (ours.some(looksLikeKey)) return usage(KEY_ARGUMENT.detail)
  if (command === undefined || command === '')
    return usage('exec needs a command: prefect-auth exec -- CMD …')
  return {
    kind: 'exec',
    command,
    args: rest,
    isProxied: read.isProxied,
    mayBeNone: read.mayBeNone,
    ...profileOf(read),
  }
}

interface Options {
  readonly kind: 'options'
  readonly values: ReadonlyMap<string, string>
  readonly isJson: boolean
  readonly isProxied: boolean
  readonly mayBeNone: boolean
  readonly rest: readonly string[]
}

function readOptions(args: readonly string[], known: readonly string[]): Options | FastPlan {
  const values = new Map<string, string>()
  let isJson = false
  let isProxied = false
  let mayBeNone = false
  for (let at = 0; at < args.length; at += 1) {
    const word = args[at] ?? ''
    if (word === '--')
      return { kind: 'options', values, isJson, isProxied, mayBeNone, rest: args.slice(at + 1) }
    if (!word.startsWith('-') || word === '-')
      return { kind: 'options', values, isJson, isProxied, mayBeNone, rest: args.slice(at) }
    if (word === '--help' || word === '-h') return { kind: 'help' }
    if (word === '--proxy') {
      isProxied = true
      continue
    }
    if (word === '--allow-none') {
      mayBeNone = true
      continue
    }
    if (word === '--json' && known.includes('format')) {
      isJson = true
      continue
    }
    const [, long, given] = /^--([a-z-]+)(?:=([\s\S]*))?$/.exec(word) ?? []
    const [short, attached] = /^-p([\s\S]+)?$/.exec(word) ?? []
    const name = short === undefined ? long : 'profile'
    const inline = given ?? attached
    // The word is not repeated: it may be a key in the wrong place.
    if (name === undefined || !known.includes(name))
      return usage(`unknown option; known options: ${list(known)}`)
    const value = inline ?? args[at + 1]
    if (inline === undefined) at += 1
    if (value === undefined || value === '') return usage(`--${name} needs a value`)
    values.set(name, value)
  }
  return { kind: 'options', values, isJson, isProxied, mayBeNone, rest: [] }
}

function profileOf({ values }: Options): { readonly profile?: string } {
  return defined({ profile: values.get('profile') })
}

function usage(message: string): FastPlan {
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
