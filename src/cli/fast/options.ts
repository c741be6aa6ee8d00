/** Pure: the arguments of `env` and `exec`, read without a command-line package. */
import { ENV_FORMATS, type EnvFormat } from '../../wire/kinds.js'
import { KEY_ARGUMENT, looksLikeKey } from '../failure.js'

export type FastPlan =
  | {
      readonly kind: 'env'
      readonly profile?: string
      readonly format: EnvFormat
      readonly isProxied: boolean
    }
  | {
      readonly kind: 'exec'
      readonly profile?: string
      readonly command: string
      readonly args: readonly string[]
      readonly isProxied: boolean
    }
  | { readonly kind: 'help' }
  | { readonly kind: 'usage'; readonly message: string }

/** What `prefect-auth env …` is to do; `args` is what stands behind `env`. */
export function parseEnvArguments(args: readonly string[]): FastPlan {
  if (args.some(looksLikeKey)) return usage(KEY_ARGUMENT.detail)
  const read = readOptions(args, ['profile', 'format'])
  if (read.kind !== 'options') return read
  if (read.rest.length > 0) return usage('env takes no argument; a profile is named by --profile')
  const wanted = read.isJson ? 'json' : (read.values.get('format') ?? 'sh')
  const format = ENV_FORMATS.find((known) => known === wanted)
  if (format === undefined) return usage(`--format is one of ${ENV_FORMATS.join(', ')}`)
  return { kind: 'env', format, isProxied: read.isProxied, ...profileOf(read) }
}

/** What `prefect-auth exec …` is to do; all behind `--`, or behind the first word, is the command's own. */
export function parseExecArguments(args: readonly string[]): FastPlan {
  const read = readOptions(args, ['profile'])
  if (read.kind !== 'options') return read
  const [command, ...rest] = read.rest
  // What stands behind the command is the command's own affair.
  const ours = args.slice(0, args.length - rest.length)
  if (ours.some(looksLikeKey)) return usage(KEY_ARGUMENT.detail)
  if (command === undefined || command === '')
    return usage('exec needs a command: prefect-auth exec -- CMD …')
  return { kind: 'exec', command, args: rest, isProxied: read.isProxied, ...profileOf(read) }
}

interface Options {
  readonly kind: 'options'
  readonly values: ReadonlyMap<string, string>
  readonly isJson: boolean
  readonly isProxied: boolean
  readonly rest: readonly string[]
}

function readOptions(args: readonly string[], known: readonly string[]): Options | FastPlan {
  const values = new Map<string, string>()
  let isJson = false
  let isProxied = false
  for (let at = 0; at < args.length; at += 1) {
    const word = args[at] ?? ''
    if (word === '--') return { kind: 'options', values, isJson, isProxied, rest: args.slice(at + 1) }
    if (!word.startsWith('-') || word === '-')
      return { kind: 'options', values, isJson, isProxied, rest: args.slice(at) }
    if (word === '--help' || word === '-h') return { kind: 'help' }
    if (word === '--proxy') {
      isProxied = true
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
    // The word itself is not repeated: it may be a key at the wrong place.
    if (name === undefined || !known.includes(name)) return usage(`unknown option (known: ${list(known)})`)
    const value = inline ?? args[at + 1]
    if (inline === undefined) at += 1
    if (value === undefined || value === '') return usage(`--${name} needs a value`)
    values.set(name, value)
  }
  return { kind: 'options', values, isJson, isProxied, rest: [] }
}

function profileOf({ values }: Options): { readonly profile?: string } {
  const profile = values.get('profile')
  return profile === undefined ? {} : { profile }
}

function usage(message: string): FastPlan {
  return { kind: 'usage', message }
}

function list(known: readonly string[]): string {
  return known.map((name) => `--${name}`).join(', ')
}
