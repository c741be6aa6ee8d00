/** How a command of the command line becomes a session: what all of them share. */
import type { Command } from 'commander'
import type { Session } from './context.js'

export interface CommonOptions {
  readonly json?: boolean
  readonly profile?: string
}

/** Runs `work` as the command `name`; the exit code goes where the program keeps it. */
export type Start = (
  name: string,
  options: CommonOptions,
  work: (session: Session) => Promise<number | undefined> | Promise<void>,
) => Promise<void>

/** `--profile` and `--json`, which every command has. */
export function common(command: Command): Command {
  return withJson(
    command.option('-p, --profile <name>', 'the profile; else PREFECT_PROFILE, else the active one'),
  )
}

/** For commands that are about no profile. */
export function withJson(command: Command): Command {
  return command.option('--json', "print the daemon's answer as JSON")
}
