/** `prefect-auth hook bash|zsh|fish`: prints what keeps a shell's pair current; needs no daemon. */
import { Argument, type Command } from 'commander'
import { generationFile, socketCandidates } from '../../../config/paths.js'
import { quoteWord } from '../../../std/text.js'
import type { Host } from '../../fast/host.js'

const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]

/** After an attempt that failed, this many prompts pass before the next: a daemon that is stopped must not slow each prompt. */
const PROMPTS_BETWEEN = 10

export function addHook(program: Command, host: Pick<Host, 'env' | 'home' | 'platform' | 'uid'>): void {
  program
    .command('hook')
    .description('print a shell hook that keeps the credentials of the shell current')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .addHelpText(
      'after',
      '\n~/.bashrc:                  eval "$(prefect-auth hook bash)"\n~/.zshrc:                   eval "$(prefect-auth hook zsh)"\n~/.config/fish/config.fish: prefect-auth hook fish | source',
    )
    .action((shell: Shell) => {
      const files = socketCandidates(host).map(generationFile)
      program.configureOutput().writeOut?.(shell === 'fish' ? renderFish(files) : renderSh(shell, files))
    })
}

/**
 * For bash 3.2 (macOS) and zsh. Before a prompt only builtins run: a line is read and compared. What is compared has the
 * variables in it that the user may set, so that setting one is noticed at the next prompt.
 */
function renderSh(shell: 'bash' | 'zsh', files: readonly string[]): string {
  return `# eval "$(prefect-auth hook ${shell})"
_prefect_auth_now() {
  local file line=''
  for file in ${files.map(quoteWord).join(' ')}; do
    [ -r "$file" ] || continue
    IFS= read -r line < "$file"
    break
  done
  _prefect_auth_is="$line|\${PREFECT_PROFILE-}|\${PREFECT_API_URL-}|\${PREFECT_API_KEY:+key}"
  [ -n "$line" ]
}
_prefect_auth_hook() {
  local code=$? text
  if _prefect_auth_now && [ "$_prefect_auth_is" != "\${_prefect_auth_was-}" ]; then
    if [ "\${_prefect_auth_wait:-0}" -gt 0 ]; then
      _prefect_auth_wait=$((_prefect_auth_wait - 1))
    elif text="$(command prefect-auth env --follow)"; then
      eval "$text"
      _prefect_auth_now
      _prefect_auth_was=$_prefect_auth_is
    else
      _prefect_auth_wait=${PROMPTS_BETWEEN}
    fi
  fi
  return "$code"
}
${shell === 'zsh' ? ZSH_START : BASH_START}`
}

const ZSH_START = `autoload -Uz add-zsh-hook
add-zsh-hook precmd _prefect_auth_hook
`

const BASH_START = `case ";\${PROMPT_COMMAND-};" in
  *";_prefect_auth_hook;"*) ;;
  *) PROMPT_COMMAND="_prefect_auth_hook\${PROMPT_COMMAND:+;$PROMPT_COMMAND}" ;;
esac
`

function renderFish(files: readonly string[]): string {
  return `# prefect-auth hook fish | source
function __prefect_auth_now
  set -l line
  for file in ${files.map(fishWord).join(' ')}
    test -r $file; or continue
    read line < $file
    break
  end
  set -g __prefect_auth_is "$line|$PREFECT_PROFILE|$PREFECT_API_URL|"(string length -- "$PREFECT_API_KEY")
  test -n "$line"
end
function __prefect_auth_hook --on-event fish_prompt
  __prefect_auth_now; or return
  test "$__prefect_auth_is" = "$__prefect_auth_was"; and return
  if test -n "$__prefect_auth_wait"; and test $__prefect_auth_wait -gt 0
    set -g __prefect_auth_wait (math $__prefect_auth_wait - 1)
    return
  end
  set -l text (command prefect-auth env --follow --format fish)
  if test $status -ne 0
    set -g __prefect_auth_wait ${PROMPTS_BETWEEN}
    return
  end
  string join \\n -- $text | source
  __prefect_auth_now
  set -g __prefect_auth_was $__prefect_auth_is
end
`
}

function fishWord(word: string): string {
  return `'${word.replace(/[\\']/g, '\\$&')}'`
}
