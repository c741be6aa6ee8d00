/** The limits of a token as flags give them, and what a command needs that they refuse. Pure. */
import { defined } from '../../std/defined.js'
import { ASK_MODES, type AskMode, MOST_IN_BUDGET, type PolicyName } from '../../wire/kinds.js'

/** As the daemon takes them, which knows the names of policies and operations. */
export interface Limits {
  readonly may?: string
  readonly allow?: readonly string[]
  readonly deny?: readonly string[]
  readonly ask?: AskMode
  readonly writes_per_hour?: number
  readonly requests_per_minute?: number
}

/** The flags. */
export const LIMITS = ['may', 'allow', 'deny', 'ask', 'writes-per-hour', 'requests-per-minute'] as const

/** By the names of the flags, with every value. */
export function readLimits(
  flags: ReadonlyMap<string, readonly string[]>,
):
  | { readonly kind: 'limits'; readonly value: Limits }
  | { readonly kind: 'usage'; readonly message: string } {
  const [may, allow, deny] = [flags.get('may')?.at(-1), flags.get('allow'), flags.get('deny')]
  const asked = flags.get('ask')?.at(-1)
  const ask = ASK_MODES.find((mode) => mode === asked)
  const usage = (message: string) => ({ kind: 'usage', message }) as const
  if (asked !== undefined && ask === undefined) return usage(`--ask must be one of ${ASK_MODES.join(', ')}`)
  if ([...(allow ?? []), ...(deny ?? [])].some((operation) => METHOD_ALONE.test(operation)))
    return usage("an operation is a method and a path, in quotes: --allow 'POST /flows/filter'")
  if (allow !== undefined && may === undefined)
    return usage('--allow adds to a policy: name that as well, such as --may read')
  const [writes, requests] = (['writes-per-hour', 'requests-per-minute'] as const).map((name) => {
    const text = flags.get(name)?.at(-1)
    return text === undefined ? undefined : /^[1-9]\d{0,5}$/.test(text) ? Number(text) : Number.NaN
  })
  const isWrong = (count = 1) => !(count <= MOST_IN_BUDGET)
  if (isWrong(writes) || isWrong(requests))
    return usage(`--writes-per-hour and --requests-per-minute take a number from 1 to ${MOST_IN_BUDGET}`)
  const budget = { writes_per_hour: writes, requests_per_minute: requests }
  return { kind: 'limits', value: defined({ may, allow, deny, ask, ...budget }) }
}

/** What a shell leaves of an operation without quotes. */
const METHOD_ALONE = /^[a-z]{3,7}$/i

interface Need {
  /** The words after `prefect`. */
  readonly words: readonly string[]
  /** The policies that suffice, the narrowest first. */
  readonly policies: readonly PolicyName[]
  /** Nothing of it is bookkeeping: with `--may read --ask write` it waits for a yes. */
  readonly mayWait?: true
}

/** What is obvious without running it. test/cli/limits.ts compares it with the policies. */
export const NEEDS: readonly Need[] = [
  { words: ['worker', 'start'], policies: ['work', 'deploy', 'all'] },
  { words: ['agent', 'start'], policies: ['work', 'deploy', 'all'] },
  { words: ['deploy'], policies: ['deploy', 'all'] },
  { words: ['flow', 'serve'], policies: ['deploy', 'all'] },
  { words: ['deployment', 'run'], policies: ['run', 'work', 'deploy', 'all'], mayWait: true },
]

/**
 * The sentence to say before the command starts; `undefined` if nothing is known against it. Who allows or denies single
 * operations knows better. `prefect` may be a path, or come after `uv run`, `python -m` and the like.
 */
export function describeMismatch(
  command: readonly string[],
  { may, allow, ask }: Limits,
): string | undefined {
  const prefect = command.findIndex((word) => /(?:^|\/)prefect(?:\.exe)?$/.test(word))
  if (prefect < 0 || may === undefined || allow !== undefined) return undefined
  const words = withoutOptions(command.slice(prefect + 1))
  const need = NEEDS.find((one) => one.words.every((word, at) => words[at] === word))
  if (need === undefined || need.policies.some((name) => name === may.trim().toLowerCase())) return undefined
  if (need.mayWait && ask === 'write' && may.trim().toLowerCase() === 'read') return undefined
  const [narrowest] = need.policies
  return `the policy '${may}' refuses what prefect ${need.words.join(' ')} needs, which will fail with 403; --may ${narrowest} allows it`
}

/** `--profile P` before a command of Prefect is its own; `-p` and the other options before it take no value. */
function withoutOptions(words: readonly string[]): readonly string[] {
  const [first = '', ...rest] = words
  if (!first.startsWith('-')) return words
  return withoutOptions(first === '--profile' || first === '-p' ? rest.slice(1) : rest)
}
