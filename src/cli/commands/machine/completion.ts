/** `prefect-auth completion bash|zsh|fish`: prints a completion script; needs no daemon. */
import { Argument, type Command } from 'commander'
import { defined } from '../../../std/defined.js'

const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]

/** One command as the completion scripts see it; the program itself has the empty path. */
interface CommandShape {
  /** `profile set` */
  readonly path: string
  readonly description: string
  readonly subcommands: readonly { readonly name: string; readonly description: string }[]
  readonly options: readonly OptionShape[]
  /** The words that its argument may be, if there is a list of them. */
  readonly choices: readonly string[]
}

interface OptionShape {
  readonly flag: string
  readonly short?: string
  readonly description: string
  /** The words that its value may be, if there is a list of them. */
  readonly choices: readonly string[]
}

function renderCompletion(shell: Shell, commands: readonly CommandShape[]): string {
  switch (shell) {
    case 'bash':
      return renderBash(commands)
    case 'zsh':
      return renderZsh(commands)
    case 'fish':
      return renderFish(commands)
  }
}

/**
 * What the daemon and Prefect name, and where such a name is completed. These names are text from strangers (a cloned
 * repository's profiles.toml, an account's workspaces): no script may expand, split or evaluate them.
 */
const NAMED = [
  {
    list: 'profile ls',
    paths: ['use', 'inspect', 'set', 'delete', 'rename'].map((verb) => `profile ${verb}`),
  },
  { list: 'workspace ls', paths: ['workspace set'] },
  { list: 'asks', paths: ['asks show', 'asks yes', 'asks no'] },
  { list: 'token ls', paths: ['token keep', 'token revoke', 'token show'] },
  { list: 'keys ls', paths: ['keys delete'] },
  { list: 'file ls', paths: ['file rm'] },
  { list: 'service-account ls', paths: ['service-account delete', 'service-account rotate'] },
] as const

/** Options whose value is such a name. */
const NAMING_OPTIONS = [
  { list: 'profile ls', short: 'p', long: 'profile' },
  { list: 'workspace ls', short: 'w', long: 'workspace' },
  { list: 'token policies --operations', long: 'allow' },
  { list: 'token policies --operations', long: 'deny' },
] as const satisfies readonly { readonly list: string; readonly short?: string; readonly long: string }[]

/** `-p|--profile` */
function spellings({ short, long }: { readonly short?: string; readonly long: string }): string {
  return short === undefined ? `--${long}` : `-${short}|--${long}`
}

function inFish({ short, long }: { readonly short?: string; readonly long: string }): string {
  return short === undefined ? `-l ${long}` : `-s ${short} -l ${long}`
}

/** Prints one name per line; nothing while the daemon is not running. */
function namesCommand(list: string): string {
  return `prefect-auth ${list} --names 2>/dev/null`
}

function wordsOf({ subcommands, choices, options }: CommandShape): readonly string[] {
  return [...subcommands.map(({ name }) => name), ...choices, ...options.map(({ flag }) => flag)]
}

/** Every option with a list of values: where it is, each way to write it, and the values. */
function listedValues(commands: readonly CommandShape[]) {
  return commands.flatMap(({ path, options }) =>
    options
      .filter(({ choices }) => choices.length > 0)
      .map(({ flag, short, choices }) => ({
        names: [flag, ...(short === undefined ? [] : [short])].map((name) => `${path} ${name}`),
        flag,
        path,
        choices,
      })),
  )
}

/** For bash 3.2 as well, which macOS has: no mapfile, no compopt, no process substitution (off in POSIX mode). */
function renderBash(commands: readonly CommandShape[]): string {
  return `# eval "$(prefect-auth completion bash)"
# Adds the lines of stdin that begin with $1. Only reads, compares and quotes them: compgen -W would run a $(…) in one.
_prefect_auth_add() {
  local line quoted
  case "$1" in [\\'\\"]*) return ;; esac
  while IFS= read -r line; do
    [ -n "$line" ] || continue
    printf -v quoted %q "$line"
    case "$line" in
      "$1"*) COMPREPLY+=("$quoted") ;;
      *) case "$quoted" in "$1"*) COMPREPLY+=("$quoted") ;; esac ;;
    esac
  done
}
# $1: the word, then a command that prints names. None that would be taken for an option.
_prefect_auth_names() {
  local names word="$1"
  shift
  names="$(prefect-auth "$@" --names 2>/dev/null | command grep -v '^-')"
  _prefect_auth_add "$word" <<< "$names"
}
_prefect_auth() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" path="" i words=""
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in
      -*) ;;
      *) case " ${allNames(commands)} " in *" \${path:+$path }\${COMP_WORDS[i]}|"*) path="\${path:+$path }\${COMP_WORDS[i]}" ;; esac ;;
    esac
    if [ "$path" = exec ] && [ "\${COMP_WORDS[i]}" = -- ]; then
      words="$(compgen -c -- "$word")"
      _prefect_auth_add "$word" <<< "$words"; return
    fi
  done
  case "$before" in
${NAMING_OPTIONS.map((option) => `    ${spellings(option)}) _prefect_auth_names "$word" ${option.list}; return ;;`).join('\n')}
  esac
  case "$path $before" in
${listedValues(commands)
  .map(({ names, choices }) => `    ${names.map(quote).join('|')}) words='${choices.join('\n')}' ;;`)
  .join('\n')}
    *) ;;
  esac
  [ -z "$words" ] || { _prefect_auth_add "$word" <<< "$words"; return; }
  case "$path" in
${commands.map((one) => `    '${one.path}') words='${wordsOf(one).join('\n')}' ;;`).join('\n')}
  esac
  _prefect_auth_add "$word" <<< "$words"
  case "$path" in
${NAMED.map(({ list, paths }) => `    ${paths.map(quote).join('|')}) _prefect_auth_names "$word" ${list} ;;`).join('\n')}
  esac
}
complete -F _prefect_auth prefect-auth
`
}

/** `login| profile| profile ls|`: every path, ended by a bar, so that no name matches the start of a longer one. */
function allNames(commands: readonly CommandShape[]): string {
  return commands.flatMap(({ path }) => (path === '' ? [] : [`${path}|`])).join(' ')
}

function renderZsh(commands: readonly CommandShape[]): string {
  const cases = commands.map((one) => {
    const items = [
      ...one.subcommands.map(({ name, description }) => [name, description] as const),
      ...one.choices.map((name) => [name, ''] as const),
      ...one.options.map(({ flag, description }) => [flag, description] as const),
    ]
    return `    '${one.path}') items=(${items.map(([name, text]) => quote(`${name}:${text}`)).join(' ')}) ;;`
  })
  return `#compdef prefect-auth
# eval "$(prefect-auth completion zsh)"
# $1: names, one per line. Quoted throughout, whatever options are set; compadd quotes what it inserts.
_prefect_auth_names() {
  emulate -L zsh
  local -a found
  found=("\${(@f)1}")
  compadd -- "\${(@)found:#(|-*)}"
}
_prefect_auth() {
  emulate -L zsh
  local -a items names
  local path_='' i
  names=(${commands.flatMap(({ path }) => (path === '' ? [] : [quote(path)])).join(' ')})
  for ((i = 2; i < CURRENT; i++)); do
    if [[ $path_ == exec && $words[i] == -- ]]; then
      _normal; return
    fi
    if (( \${names[(Ie)\${path_:+$path_ }$words[i]]} )); then
      path_="\${path_:+$path_ }$words[i]"
    fi
  done
  case $words[CURRENT-1] in
${NAMING_OPTIONS.map((option) => `    (${spellings(option)}) _prefect_auth_names "$(${namesCommand(option.list)})"; return ;;`).join('\n')}
  esac
  case "$path_ $words[CURRENT-1]" in
${listedValues(commands)
  .map(
    ({ names, choices }) => `    (${names.map(quote).join('|')}) compadd -- ${choices.join(' ')}; return ;;`,
  )
  .join('\n')}
  esac
  case $path_ in
${cases.join('\n')}
  esac
  case $path_ in
${NAMED.map(({ list, paths }) => `    (${paths.map(quote).join('|')}) _prefect_auth_names "$(${namesCommand(list)})" ;;`).join('\n')}
  esac
  _describe 'prefect-auth' items
}
compdef _prefect_auth prefect-auth
`
}

function renderFish(commands: readonly CommandShape[]): string {
  const lines = commands.flatMap(({ path, subcommands, choices, options }) => {
    const [here, inside] = [`__prefect_auth_at ${path}`.trim(), `__prefect_auth_in ${path}`]
    return [
      ...subcommands.map(
        ({ name, description }) =>
          `complete -c prefect-auth -f -n '${here}' -a ${name} -d ${quote(description)}`,
      ),
      ...(choices.length === 0 ? [] : [`complete -c prefect-auth -f -n '${here}' -a '${choices.join(' ')}'`]),
      ...options.map(({ flag, description, choices: values }) => {
        const value = values.length === 0 ? '' : ` -x -a '${values.join(' ')}'`
        return `complete -c prefect-auth -n '${path === '' ? here : inside}' -l ${flag.slice(2)}${value} -d ${quote(description)}`
      }),
    ]
  })
  return `# prefect-auth completion fish | source
function __prefect_auth_words
  for word in (commandline -opc)[2..-1]
    string match -q -- '-*' $word; or echo $word
  end
end
function __prefect_auth_at
  set -l words (__prefect_auth_words)
  test "$words" = "$argv"
end
function __prefect_auth_in
  set -l words (__prefect_auth_words)
  set -l size (count $argv)
  test (count $words) -ge $size; and test "$words[1..$size]" = "$argv"
end
complete -c prefect-auth -n 'not __prefect_auth_in exec' -f
# The names that "prefect-auth $argv --names" prints, but none that would be taken for an option.
function __prefect_auth_names
  prefect-auth $argv --names 2>/dev/null | string match -v -- '-*'
end
${NAMING_OPTIONS.map((option) => `complete -c prefect-auth ${inFish(option)} -x -a '(__prefect_auth_names ${option.list})'`).join('\n')}
${lines.join('\n')}
${NAMED.flatMap(({ list, paths }) => paths.map((path) => `complete -c prefect-auth -f -n '__prefect_auth_in ${path}' -a '(__prefect_auth_names ${list})'`)).join('\n')}
`
}

/** A word in single quotes, for all three shells; quotes inside are dropped. */
function quote(text: string): string {
  return `'${text.replaceAll("'", '')}'`
}

export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a shell completion script')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .action((shell: Shell) => {
      program.configureOutput().writeOut?.(renderCompletion(shell, shapesOf(program, '')))
    })
}

function shapesOf(command: Command, path: string): CommandShape[] {
  const { commands } = command
  const shape: CommandShape = {
    path,
    description: command.description(),
    subcommands: commands.map((one) => ({ name: one.name(), description: one.description() })),
    choices: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
    options: [
      ...command.options
        .filter(({ hidden }) => !hidden)
        .flatMap(({ long, short, description, argChoices = [] }) =>
          long ? [{ flag: long, description, choices: argChoices, ...defined({ short }) }] : [],
        ),
      { flag: '--help', description: 'show help', choices: [] },
    ],
  }
  const below = commands.flatMap((one) => shapesOf(one, path === '' ? one.name() : `${path} ${one.name()}`))
  return [shape, ...below]
}
