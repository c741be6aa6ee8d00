/** `env` and `exec` as the help shows them; what they do stands in `fast-env.ts` and `fast-exec.ts`. */
import type { Command } from 'commander'
import { ENV_FORMATS } from '../../wire/kinds.js'

const PROFILE = ['-p, --profile <name>', 'the profile; else PREFECT_PROFILE, else the active one'] as const

export function addEnv(program: Command): void {
  program
    .command('env')
    .description('print the credentials for a shell')
    .option(...PROFILE)
    .option('--format <format>', `${ENV_FORMATS.join(', ')} (default: sh)`)
    .option('--json', 'the same as --format json')
    .option('--proxy', 'no key, but the address of our proxy and a token for it')
    .addHelpText(
      'after',
      '\nsh, bash, zsh: eval "$(prefect-auth env)"\nfish:          prefect-auth env --format fish | source',
    )
}

export function addExec(program: Command): void {
  program
    .command('exec')
    .description('run a command with the credentials in its environment')
    .usage('[options] [--] CMD [ARGS...]')
    .option(...PROFILE)
    .option('--proxy', 'no key, but the address of our proxy and a token for this command')
    .addHelpText(
      'after',
      "\nExample: prefect-auth exec -- prefect worker start --pool mine\n\nExit code: the command's own; 128+n for a signal; 127 not found; 126 not executable;\n125 where it was never started (the reason is on stderr).",
    )
}
