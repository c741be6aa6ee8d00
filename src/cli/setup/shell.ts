/** What setup writes for a shell: which file, and which lines. Pure. */
import { basename, isAbsolute, join } from 'node:path'
import type { Surroundings } from '../../config/paths.js'

const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]
export type ShellPart = 'completion' | 'hook'

/** The login shell of the user; `undefined` if it is none that we know. */
export function shellInUse({ env }: Pick<Surroundings, 'env'>): Shell | undefined {
  const name = basename(env.SHELL ?? '')
  return SHELLS.find((shell) => shell === name)
}

export interface ShellFile {
  readonly path: string
  readonly lines: readonly string[]
}

/** `exists`: whether a file is there. The lines do nothing, silently, once the package is gone. */
export function planShell(
  shell: Shell,
  part: ShellPart,
  around: Surroundings,
  exists: (path: string) => boolean,
): ShellFile {
  const { condition, end, hook, completion } = LINES[shell]
  const inside = part === 'hook' ? hook : completion
  const lines = [condition, ...inside.map((line) => `  ${line}`), end]
  return { path: fileOf(shell, part, around, exists), lines }
}

/** Completions are made at the first Tab: a start of the shell does not wait for them. */
const LINES = {
  bash: {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is for the shell
    condition: 'if [ -n "${BASH_VERSION-}" ] && [ -n "${PS1-}" ] && command -v prefect-auth >/dev/null; then',
    end: 'fi',
    hook: ['eval "$(prefect-auth hook bash)"'],
    completion: [
      '_prefect_auth_load() { eval "$(prefect-auth completion bash)"; return 124; }',
      'complete -F _prefect_auth_load prefect-auth',
    ],
  },
  zsh: {
    condition: 'if [[ -o interactive ]] && (( $+commands[prefect-auth] )); then',
    end: 'fi',
    hook: ['eval "$(prefect-auth hook zsh)"'],
    completion: [
      '_prefect_auth_load() { eval "$(prefect-auth completion zsh)" && _prefect_auth "$@"; }',
      'if (( $+functions[compdef] )); then compdef _prefect_auth_load prefect-auth; fi',
    ],
  },
  fish: {
    condition: 'if status is-interactive; and command -q prefect-auth',
    end: 'end',
    hook: ['prefect-auth hook fish | source'],
    completion: ['prefect-auth completion fish | source'],
  },
} as const

function fileOf(
  shell: Shell,
  part: ShellPart,
  { env, home, platform }: Surroundings,
  exists: (path: string) => boolean,
): string {
  switch (shell) {
    case 'bash':
      return platform === 'darwin' ? loginFile(home, exists) : join(home, '.bashrc')
    case 'zsh':
      return join(absolute(env.ZDOTDIR) ?? home, '.zshrc')
    case 'fish': {
      const folder = join(absolute(env.XDG_CONFIG_HOME) ?? join(home, '.config'), 'fish')
      // fish reads the second one when a completion is asked for.
      return part === 'hook' ? join(folder, 'config.fish') : join(folder, 'completions', 'prefect-auth.fish')
    }
  }
}

/** Terminals of macOS start login shells, which read only the first of these. */
const LOGIN_FILES = ['.bash_profile', '.bash_login', '.profile']

function loginFile(home: string, exists: (path: string) => boolean): string {
  const files = LOGIN_FILES.map((name) => join(home, name))
  return files.find(exists) ?? join(home, '.bash_profile')
}

function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined
}

/** Whether the user wrote the line that loads it, as the documentation says: then none of ours is needed. */
export function isLoadedIn(text: string, shell: Shell, part: ShellPart): boolean {
  const command = `prefect-auth ${part} ${shell}`
  return text.split('\n').some((line) => !line.trim().startsWith('#') && line.includes(command))
}
