/** `prefect-auth completion bash|zsh|fish`: prints a completion script; needs no daemon. */
import { Argument, type Command } from 'commander'

const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]

/** One command as the completion scripts see it; the program itself has the empty path. */
interface CommandShape {
  /** `profile set` */
  readonly path: string
  readonly description: string
  readonly subcommands: readonly { readonly name: string; readonly description: string }[]
  readonly options: readonly { readonly flag: string; readonly description: string }[]
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

/** Asks the daemon for the profile names; there are none while it is not running. */
const PROFILES = 'prefect-auth profile ls --names 2>/dev/null'
const NAMES_PROFILE = ['profile use', 'profile inspect', 'profile set', 'profile delete', 'profile rename']

function wordsOf({ subcommands, options }: CommandShape): string {
  return [...subcommands.map(({ name }) => name), ...options.map(({ flag }) => flag)].join(' ')
}

function renderBash(commands: readonly CommandShape[]): string {
  return `# eval "$(prefect-auth completion bash)"
_prefect_auth() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" path="" i words
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in
      -*) ;;
      *) case " ${allNames(commands)} " in *" \${path:+$path }\${COMP_WORDS[i]}|"*) path="\${path:+$path }\${COMP_WORDS[i]}" ;; esac ;;
    esac
    if [ "$path" = exec ] && [ "\${COMP_WORDS[i]}" = -- ]; then
      COMPREPLY=($(compgen -c -- "$word")); return
    fi
  done
  if [ "$before" = -p ] || [ "$before" = --profile ]; then
    COMPREPLY=($(compgen -W "$(${PROFILES})" -- "$word")); return
  fi
  case "$path" in
${commands.map((one) => `    '${one.path}') words='${wordsOf(one)}' ;;`).join('\n')}
  esac
  case "$path" in ${NAMES_PROFILE.map((path) => `'${path}'`).join('|')}) words="$words $(${PROFILES})" ;; esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
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
      ...one.options.map(({ flag, description }) => [flag, description] as const),
    ]
    return `    '${one.path}') items=(${items.map(([name, text]) => quote(`${name}:${text}`)).join(' ')}) ;;`
  })
  return `#compdef prefect-auth
# eval "$(prefect-auth completion zsh)"
_prefect_auth() {
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
  if [[ $words[CURRENT-1] == (-p|--profile) ]]; then
    compadd -- \${(f)"$(${PROFILES})"}; return
  fi
  case $path_ in
${cases.join('\n')}
  esac
  case $path_ in (${NAMES_PROFILE.map(quote).join('|')}) compadd -- \${(f)"$(${PROFILES})"} ;; esac
  _describe 'prefect-auth' items
}
compdef _prefect_auth prefect-auth
`
}

function renderFish(commands: readonly CommandShape[]): string {
  const lines = commands.flatMap(({ path, subcommands, options }) => {
    const [here, inside] = [`__prefect_auth_at ${path}`.trim(), `__prefect_auth_in ${path}`]
    return [
      ...subcommands.map(
        ({ name, description }) =>
          `complete -c prefect-auth -f -n '${here}' -a ${name} -d ${quote(description)}`,
      ),
      ...options.map(
        ({ flag, description }) =>
          `complete -c prefect-auth -n '${path === '' ? here : inside}' -l ${flag.slice(2)} -d ${quote(description)}`,
      ),
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
complete -c prefect-auth -s p -l profile -x -a '(${PROFILES})'
${lines.join('\n')}
${NAMES_PROFILE.map((path) => `complete -c prefect-auth -f -n '__prefect_auth_in ${path}' -a '(${PROFILES})'`).join('\n')}
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
    options: [
      ...command.options.flatMap(({ long, description }) => (long ? [{ flag: long, description }] : [])),
      { flag: '--help', description: 'show help' },
    ],
  }
  const below = commands.flatMap((one) => shapesOf(one, path === '' ? one.name() : `${path} ${one.name()}`))
  return [shape, ...below]
}
