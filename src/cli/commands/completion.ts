/** `prefect-auth completion bash|zsh|fish`: prints the script; needs no daemon. */
import { Argument, type Command } from 'commander'
import { type CommandShape, renderCompletion, SHELLS, type Shell } from './completion-script.js'

export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print the completion script of a shell')
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
      { flag: '--help', description: 'explain' },
    ],
  }
  const below = commands.flatMap((one) => shapesOf(one, path === '' ? one.name() : `${path} ${one.name()}`))
  return [shape, ...below]
}
