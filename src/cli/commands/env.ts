/** The help of `env`, `exec` and `get`; the files of the same names in `fast/` do the work. */
import { Argument, type Command, Option } from 'commander'
import { ENV_FORMATS } from '../../wire/kinds.js'
import { addLimits } from '../limit-flags.js'

const PROFILE = [
  '-p, --profile <name>',
  'the profile (default: PREFECT_PROFILE, else the active one)',
] as const

const ALLOW_NONE = ['--allow-none', 'without a login or an API URL, go on with none'] as const

export function addEnv(program: Command): void {
  const command = program
    .command('env')
    .description('print the credentials as shell variables')
    .option(...PROFILE)
    .addOption(new Option('--format <format>', 'for which reader (default: sh)').choices(ENV_FORMATS))
    .option('--json', 'the same as --format json')
    .option('--proxy', 'print the address of the local proxy and a token for it, not the key')
    .option(...ALLOW_NONE)
    .addHelpText(
      'after',
      '\nsh, bash, zsh: eval "$(prefect-auth env)"\nfish:          prefect-auth env --format fish | source',
    )
  addLimits(command, 'with --proxy: ')
}

export function addGet(program: Command): void {
  program
    .command('get')
    .description('print one value, for settings of other tools that run a command for a key')
    .addArgument(new Argument('<what>').choices(['key', 'url', 'json']))
    .option(...PROFILE)
    .addHelpText(
      'after',
      '\nPrints the value and a line break, nothing else. Exit code: 0, or 3 without a login, 4 if the daemon is not running.',
    )
}

export function addExec(program: Command): void {
  const command = program
    .command('exec')
    .description('run a command with the credentials in its environment')
    .usage('[options] [--] CMD [ARGS...]')
    .option(...PROFILE)
    .option('--proxy', 'pass the address of the local proxy and a token for it, not the key')
    .option(...ALLOW_NONE)
    .addHelpText(
      'after',
      '\nExample: prefect-auth exec -- prefect worker start --pool mine\n\nExit code: that of the command; 128+n for a signal, 127 not found, 126 not executable,\n125 if the command was never started (the reason is on stderr).',
    )
  addLimits(command, 'with --proxy: ')
}
